#pragma once

#include <cstddef>

#include "tensor/simd/dispatch.h"

namespace nibble::quant {

struct FakeQuantParams {
  float scale, zero_point;
  float lo, hi;       // codes
  bool clamp_passes;  // straight-through clamp (weights); else no gradient outside (activations, biases)
};

// Gradients that a run of elements sends to scale and zero point.
struct FakeQuantSums {
  float scale, zero_point;
};

// float32. Quotients are divisions, codes round half to even, nothing is fused: the same bits on every tier
// (but the order of the sums). NaN stays NaN.
struct FakeQuantKernels {
  // y = (clamp(round(x / scale + zero_point), lo, hi) - zero_point) * scale
  void (*forward)(const float* x, float* y, std::size_t n, const FakeQuantParams& params) noexcept;
  // With code = round(x / scale + zero_point) and inside = lo <= code <= hi, or everywhere if clamp_passes:
  //   grad_x = grad_y inside, 0 outside
  //   sums.scale = sum of grad_y * (clamp(code) - zero_point - (inside ? x / scale : 0))
  //   sums.zero_point = -scale * sum of grad_y outside
  FakeQuantSums (*backward)(const float* x, const float* grad_y, float* grad_x, std::size_t n,
                            const FakeQuantParams& params) noexcept;
};

NIBBLE_DECLARE_KERNELS(FakeQuantKernels, fake_quant_kernels)

}  // namespace nibble::quant
