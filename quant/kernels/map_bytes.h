#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/simd/dispatch.h"

namespace nibble::quant {

// to[i] = table[from[i]] for i < n, table of 256 bytes. `to` may be `from`.
struct MapBytesKernels {
  void (*run)(const std::uint8_t* from, std::size_t n, const std::uint8_t* table, std::uint8_t* to) noexcept;
};

NIBBLE_DECLARE_INTEGER_KERNELS(MapBytesKernels, map_bytes_kernels)

}  // namespace nibble::quant
