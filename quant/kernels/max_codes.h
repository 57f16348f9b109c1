#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/simd/dispatch.h"

namespace nibble::quant {

// out[i] = max of rows[0][i], ..., rows[count - 1][i] for i < n; count >= 1. `out` may be one of the rows.
struct MaxKernels {
  using Max = void (*)(const std::uint8_t* const* rows, std::size_t count, std::size_t n,
                       std::uint8_t* out) noexcept;
  Max max_u8, max_s8;  // bytes read as uint8 or as int8
};

NIBBLE_DECLARE_INTEGER_KERNELS(MaxKernels, max_kernels)

}  // namespace nibble::quant
