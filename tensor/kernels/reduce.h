#pragma once

#include <cstddef>

#include "tensor/simd/dispatch.h"

namespace nibble {

// float32, over n values that lie back to back.
struct ReduceKernels {
  float (*sum)(const float* x, std::size_t n) noexcept;
  // n > 0; NaN if one is among them. abs_max is the largest |x|.
  float (*max)(const float* x, std::size_t n) noexcept;
  float (*min)(const float* x, std::size_t n) noexcept;
  float (*abs_max)(const float* x, std::size_t n) noexcept;
};

NIBBLE_DECLARE_KERNELS(ReduceKernels, reduce_kernels)

}  // namespace nibble
