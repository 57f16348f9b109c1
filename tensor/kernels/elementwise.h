#pragma once

#include <cstddef>

#include "tensor/simd/dispatch.h"

namespace nibble {

// float32 kernels over n elements. The steps of a and b are 1, or 0 for a single value used throughout.
// `out` may be a or b itself. Formulas: kernels/elementwise_ops.h.
struct ElementwiseKernels {
  using Unary = void (*)(const float* x, float* out, std::size_t n) noexcept;
  using Binary = void (*)(const float* a, std::size_t a_step, const float* b, std::size_t b_step, float* out,
                          std::size_t n) noexcept;
  Binary add, sub, mul, div, maximum, minimum, greater, greater_equal, equal, relu_backward;
  Unary neg, abs, sign, sqrt, exp, log, relu, sigmoid, tanh, round;
};

NIBBLE_DECLARE_KERNELS(ElementwiseKernels, elementwise_kernels)

}  // namespace nibble
