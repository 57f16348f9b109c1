#pragma once

#include <cstddef>

#include "tensor/simd/dispatch.h"

namespace nibble {

// float32, over lines of n > 0 values. `along`: one line, its values back to back. `across`: `lines` lines
// side by side, value i of line j at [i * step + j]; the lanes of a vector then hold as many lines. Formulas:
// kernels/reference.h. The result may overwrite an operand.
struct SoftmaxKernels {
  using ForwardAlong = void (*)(const float* x, float* y, std::size_t n) noexcept;
  using ForwardAcross = void (*)(const float* x, float* y, std::size_t step, std::size_t lines,
                                 std::size_t n) noexcept;
  using BackwardAlong = void (*)(const float* grad, const float* y, float* out, std::size_t n) noexcept;
  using BackwardAcross = void (*)(const float* grad, const float* y, float* out, std::size_t step,
                                  std::size_t lines, std::size_t n) noexcept;
  struct Forward {
    ForwardAlong along;
    ForwardAcross across;
  };
  struct Backward {
    BackwardAlong along;
    BackwardAcross across;
  };
  Forward softmax, log_softmax;
  Backward softmax_backward, log_softmax_backward;
};

NIBBLE_DECLARE_KERNELS(SoftmaxKernels, softmax_kernels)

}  // namespace nibble
