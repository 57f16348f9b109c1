#pragma once

#include <cstddef>

#include "tensor/simd/dispatch.h"

namespace nibble {

struct SgdStep {
  double lr, momentum, dampening, weight_decay;
  bool nesterov;
  bool first;  // the momentum buffer starts as the gradient
};

struct AdamStep {
  double lr, beta1, beta2, eps;
  double weight_decay;
  bool decoupled;                             // AdamW: decay the parameter; else add it to the gradient
  double bias_correction1, bias_correction2;  // 1 - beta^t
};

// One fused pass over n float32 elements each. `momentum` may be null when SgdStep::momentum is 0.
struct OptimizerKernels {
  void (*sgd)(float* parameter, const float* grad, float* momentum, std::size_t n,
              const SgdStep& step) noexcept;
  void (*adam)(float* parameter, const float* grad, float* exp_avg, float* exp_avg_sq, std::size_t n,
               const AdamStep& step) noexcept;
};

NIBBLE_DECLARE_KERNELS(OptimizerKernels, optimizer_kernels)

}  // namespace nibble
