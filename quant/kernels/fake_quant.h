#pragma once

#include <cmath>
#include <cstddef>

#include "tensor/simd/dispatch.h"

namespace nibble::quant {

struct FakeQuantParams {
  float scale, zero_point;
  float lo, hi;       // codes
  bool clamp_passes;  // straight-through clamp (weights); else no gradient outside (activations, biases)
  bool relu;          // x stands for max(x, 0)
};

// Whether scale and codes are so far from the ends of float32 that nothing over- or underflows, that codes
// are exact and that different codes are different values in the same order.
inline bool is_regular(const FakeQuantParams& p) {
  constexpr float kLargest = 0x1p20f;
  return p.scale >= 0x1p-60f && p.scale <= 0x1p60f && p.lo >= -kLargest && p.hi <= kLargest &&
         p.zero_point >= p.lo && p.zero_point <= p.hi && std::nearbyint(p.zero_point) == p.zero_point;
}

// Gradients that a run of elements sends to scale and zero point.
struct FakeQuantSums {
  double scale, zero_point;
};

// float32. Quotients are divisions, codes round half to even, nothing is fused, and sums run over the same 16
// lanes whatever the width of a register: the same bits on every tier. NaN stays NaN.
struct FakeQuantKernels {
  // y = (clamp(round(x / scale + zero_point), lo, hi) - zero_point) * scale
  void (*forward)(const float* x, float* y, std::size_t n, const FakeQuantParams& params) noexcept;
  // With code = round(x / scale + zero_point) and inside = lo <= code <= hi, or everywhere if clamp_passes:
  //   grad_x = grad_y inside, 0 outside; with relu also 0 where x <= 0
  //   sums.scale = sum of grad_y * (clamp(code) - zero_point - (inside ? x / scale : 0))
  //   sums.zero_point = -scale * sum of grad_y outside
  // grad_x may be null. The sums are taken in float32: call it on a few thousand elements at a time and add
  // up in double.
  FakeQuantSums (*backward)(const float* x, const float* grad_y, float* grad_x, std::size_t n,
                            const FakeQuantParams& params) noexcept;
};

NIBBLE_DECLARE_KERNELS(FakeQuantKernels, fake_quant_kernels)

}  // namespace nibble::quant
