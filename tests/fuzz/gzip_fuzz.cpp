#include "data/gzip.h"

#include <cstdint>
#include <cstdlib>

#include "tensor/format_error.h"

// The bound holds, and is exact: what fits in n bytes is accepted with the bound n and refused with n - 1.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr std::size_t kMaxBytes = 1 << 20;
  const auto bytes = std::as_bytes(std::span(data, size));
  std::vector<std::byte> out;
  try {
    out = nibble::data::gunzip(bytes, kMaxBytes);
  } catch (const nibble::FormatError&) {
    return 0;
  }
  if (out.size() > kMaxBytes || nibble::data::gunzip(bytes, out.size()) != out) std::abort();
  if (out.empty()) return 0;
  try {
    nibble::data::gunzip(bytes, out.size() - 1);
    std::abort();
  } catch (const nibble::FormatError&) {
  }
  return 0;
}
