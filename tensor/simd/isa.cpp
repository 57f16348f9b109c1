#include "tensor/simd/isa.h"

#include <cstdlib>
#include <stdexcept>

namespace nibble {

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::sse2:
      return "sse2";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::neon:
      return "neon";
  }
  throw std::logic_error("name_of: not an Isa");
}

namespace {

std::vector<Isa> detect() {
#if defined(__x86_64__)
  // __builtin_cpu_supports also asks whether the operating system saves the wide registers (XCR0).
  __builtin_cpu_init();
  std::vector<Isa> isas{Isa::sse2};
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx2) isas.push_back(Isa::avx2);
  if (avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512vl"))
    isas.push_back(Isa::avx512);
  return isas;
#else
  return {Isa::neon};
#endif
}

}  // namespace

const std::vector<Isa>& supported_isas() {
  static const std::vector<Isa> isas = detect();
  return isas;
}

Isa parse_isa(std::string_view name) {
  std::string valid;
  for (Isa isa : supported_isas()) {
    if (name == name_of(isa)) return isa;
    valid += valid.empty() ? "" : ", ";
    valid += name_of(isa);
  }
  throw std::invalid_argument("NIBBLE_ISA: \"" + std::string(name) +
                              "\" is not a tier of this machine; valid: " + valid);
}

Isa active_isa() {
  static const Isa isa = [] {
    const char* name = std::getenv("NIBBLE_ISA");
    return name == nullptr || *name == '\0' ? supported_isas().back() : parse_isa(name);
  }();
  return isa;
}

}  // namespace nibble
