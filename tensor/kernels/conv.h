#pragma once

#include <cstddef>

#include "tensor/simd/dispatch.h"

namespace nibble {

// Direct convolution of float32 tensors whose innermost axis holds the images of a batch: each vector is one
// pixel of several images, so there is no im2col, no shuffle and no tail but the last images. Strides are in
// floats, the images lie next to each other.
struct DirectConv {
  std::ptrdiff_t images;
  std::ptrdiff_t c, h, w;    // input channels and size
  std::ptrdiff_t k, oh, ow;  // output channels and size
  std::ptrdiff_t r, s;       // kernel size
  std::ptrdiff_t stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
  std::ptrdiff_t x_c, x_h, x_w;
  std::ptrdiff_t y_k, y_h, y_w;
};

// Weights are packed [r][s][c][k]. Products are added up in the order r, s, c, each with a single rounding,
// and the bias comes last: as in oneDNN's direct convolution, which PyTorch calls. A quantized activation
// often lies exactly between two codes, and there the order of a float sum decides.

// Lanes of an accumulator of backward_weight in memory: those of the widest tier.
inline constexpr std::ptrdiff_t kConvLanes = 16;
// Output channels whose sums backward_weight keeps in registers on the widest tier.
inline constexpr std::ptrdiff_t kConvGradChannels = 8;

struct ConvKernels {
  // Output row `row` (0..oh-1), all channels and images. `bias` has k values or is null.
  void (*forward)(const DirectConv& conv, const float* x, const float* packed_weight, const float* bias,
                  float* y, std::ptrdiff_t row) noexcept;
  // Adds the products of output rows [row_begin, row_end) to `sums`: kConvLanes partial sums for each element
  // of the weight gradient, in the order [r][c][s][k].
  void (*backward_weight)(const DirectConv& conv, const float* x, const float* grad_y, float* sums,
                          std::ptrdiff_t row_begin, std::ptrdiff_t row_end) noexcept;
  // out[i] = sum over the lanes of sums[i * kConvLanes + lane].
  void (*reduce_sums)(const float* sums, float* out, std::ptrdiff_t n) noexcept;
};

NIBBLE_DECLARE_KERNELS(ConvKernels, conv_kernels)

}  // namespace nibble
