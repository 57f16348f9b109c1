#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/simd/dispatch.h"

namespace nibble::quant {

// Codes of 1, 2 or 4 bits, one to a byte, to and from dense storage: code i stands in byte i * bits / 8 from
// bit (i * bits) % 8 on. Unsigned; an offset for negative ones is the caller's.
struct BitsKernels {
  // The low `bits` of each code; (n * bits + 7) / 8 bytes, the last one filled up with zeros.
  void (*pack)(const std::uint8_t* codes, std::size_t n, int bits, std::uint8_t* out) noexcept;
  void (*unpack)(const std::uint8_t* packed, std::size_t n, int bits, std::uint8_t* codes) noexcept;
};

NIBBLE_DECLARE_INTEGER_KERNELS(BitsKernels, bits_kernels)

}  // namespace nibble::quant
