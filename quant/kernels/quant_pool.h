#pragma once

#include <cstddef>

#include "quant/kernels/fake_quant.h"

namespace nibble::quant {

// Max pooling of quantized planes x [h, w, images] without gaps. Windows lie inside and do not overlap.
struct QuantPool {
  std::ptrdiff_t images;  // a multiple of 16
  std::ptrdiff_t h, w;    // h * w < 2^24
  std::ptrdiff_t oh, ow;  // y is [oh, ow, images]
  std::ptrdiff_t r, s;    // window
  std::ptrdiff_t stride_h, stride_w;
};

// What the backward pass has to know of each y, which is the first of the window's elements with the largest
// code:
//   slope   dy / dscale of that element
//   source  1 + its position in the plane; negative where it was clamped, which the sums count but not
//   grad_x;
//           0 where relu made it 0, which nothing counts
struct QuantPoolKernels {
  // One plane; params are regular. slope and source may be null: then there is no backward pass.
  void (*forward)(const QuantPool& pool, const float* x, float* y, float* slope, float* source,
                  const FakeQuantParams& params) noexcept;
  // A row of windows: grad_y, slope and source are that row's, grad_x (or null) the plane, of which it writes
  // the lines from its windows' first to the next row's, or to the last. Sums as FakeQuantKernels::backward
  // has them for the gradient that the pooling hands on, but in the order of windows.
  FakeQuantSums (*backward)(const QuantPool& pool, std::ptrdiff_t row, const float* grad_y,
                            const float* slope, const float* source, float* grad_x, float scale) noexcept;
};

NIBBLE_DECLARE_KERNELS(QuantPoolKernels, quant_pool_kernels)

}  // namespace nibble::quant
