#include "tensor/simd/isa.h"

#include <cstdlib>
#include <stdexcept>

#if defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#elif defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace nibble {

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::scalar:
      return "scalar";
    case Isa::sse2:
      return "sse2";
    case Isa::ssse3:
      return "ssse3";
    case Isa::avx2:
      return "avx2";
    case Isa::avx512:
      return "avx512";
    case Isa::avx512vnni:
      return "avx512vnni";
    case Isa::amx:
      return "amx";
    case Isa::neon:
      return "neon";
    case Isa::neondot:
      return "neondot";
  }
  throw std::logic_error("name_of: not an Isa");
}

namespace {

#if defined(__x86_64__)

// GCC 12 has no name for int8 tiles: bits 24 and 25 of CPUID leaf 7, and 17 and 18 of XCR0, the state that
// the operating system saves. (That XCR0 can be read follows from the AVX-512 tiers below.)
bool has_tiles() {
  unsigned eax, ebx, ecx, edx;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) || (edx >> 24 & 3) != 3) return false;
  unsigned low, high;
  asm("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low >> 17 & 3) == 3;
}

// Linux gives a process the 8 KiB of tiles, which every signal frame must then hold, only when asked: before
// the first tile instruction, once for all threads. Kernels older than 5.16 refuse, and may not save them.
bool ask_for_tiles() {
  constexpr int kRequestPermission = 0x1023;  // ARCH_REQ_XCOMP_PERM
  constexpr int kTileData = 18;               // XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

std::vector<Isa> detect() {
  // __builtin_cpu_supports also asks whether the operating system saves the wide registers (XCR0).
  __builtin_cpu_init();
  std::vector<Isa> isas{Isa::scalar, Isa::sse2};
  const auto add_if = [&](bool supported, Isa isa) {
    if (supported) isas.push_back(isa);
    return supported;
  };
  add_if(__builtin_cpu_supports("ssse3"), Isa::ssse3) &&
      add_if(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"), Isa::avx2) &&
      add_if(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512cd") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512vl"),
             Isa::avx512) &&
      add_if(__builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vpopcntdq"),
             Isa::avx512vnni) &&
      add_if(has_tiles() && ask_for_tiles(), Isa::amx);
  return isas;
}

#else

std::vector<Isa> detect() {
  std::vector<Isa> isas{Isa::scalar, Isa::neon};
  if (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) isas.push_back(Isa::neondot);
  return isas;
}

#endif

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
