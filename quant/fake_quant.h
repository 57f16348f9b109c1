#pragma once

#include "autograd/ops_pool.h"
#include "quant/qparams.h"

namespace nibble::quant {

enum class Clamp {
  straight_through,  // gradient also for clamped elements: weights
  real               // none for them: activations, biases
};

struct FakeQuantOptions {
  IntegerRange range;
  Clamp clamp = Clamp::real;
  bool relu = false;  // quantize max(x, 0): one pass instead of two
};

// Quantizes and de-quantizes: y = (clamp(round(x / scale + zero_point), lo, hi) - zero_point) * scale,
// rounding half to even, with straight-through gradients (Bengio et al., 2013):
//   grad_x = grad_y, with Clamp::real only where the code was inside the range
//   grad_scale = sum of grad_y * (code - zero_point - x/scale); x/scale is dropped where Clamp::real clamped
//   grad_zero_point = -scale * sum of grad_y where Clamp::real clamped
// x is float32. The scale is rank 0, or has one value for each index of x's first dimension; the zero point
// is rank 0 or undefined (0). Keeps the memory layout of x; the result has no annotation.
Variable fake_quantize(const Variable& x, const Variable& scale, const Variable& zero_point,
                       const FakeQuantOptions& options);

// max_pool2d(fake_quantize(x, scale, zero_point, options), kernel, pool), the same bits but for the order in
// which the gradients of scale and zero point are added up. Where a multiple of 16 images or channels lie
// next to each other and windows neither overlap nor leave the input, it is one pass over x, and the backward
// pass does not need x. (Only a NaN that no window chooses does not reach the gradient of the scale then.)
Variable fake_quantize_max_pool2d(const Variable& x, const Variable& scale, const Variable& zero_point,
                                  const FakeQuantOptions& options, Size2 kernel, const PoolOptions& pool);

}  // namespace nibble::quant
