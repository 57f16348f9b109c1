#pragma once

#include <cstddef>

#include "tensor/kernels/conv_sizes.h"
#include "tensor/simd/dispatch.h"

namespace nibble {

// Direct convolution of float32 tensors, without im2col or shuffles. For a batch the innermost axis in memory
// holds its images: each vector is one pixel of several of them. For a few images, one by one, it holds the
// output channels. Strides are in floats.
struct DirectConv : ConvSizes {
  std::ptrdiff_t images;
  std::ptrdiff_t x_c, x_h, x_w;
  std::ptrdiff_t y_k, y_h, y_w;
};

// Weights are packed [r][s][c][k], the channels padded to a multiple of kConvLanes for forward_image.
// Products are added up in the order r, s, c by fused_multiply_add, and the bias comes last: as in
// oneDNN's direct convolution, which PyTorch calls. A quantized activation often lies exactly between two
// codes, and there the order of a float sum decides. Of a batch, a single output channel whose taps are
// neighbours is added up in the order r, c, s.

// Lanes of a vector in memory: those of the widest tier.
inline constexpr std::ptrdiff_t kConvLanes = 16;
// Output channels whose sums backward_weight keeps in registers on the widest tier.
inline constexpr std::ptrdiff_t kConvGradChannels = 8;

struct ConvKernels {
  // Output row `row` (0..oh-1), all channels and images, which are adjacent in x and y. `bias` has k values
  // or is null.
  void (*forward)(const DirectConv& conv, const float* x, const float* packed_weight, const float* bias,
                  float* y, std::ptrdiff_t row) noexcept;
  // All of the first image, whose channels are adjacent in y (y_k = 1). x has any strides.
  void (*forward_image)(const DirectConv& conv, const float* x, const float* packed_weight, const float* bias,
                        float* y) noexcept;
  // Adds the products of output rows [row_begin, row_end) to `sums`: kConvLanes partial sums for each element
  // of the weight gradient, in the order [r][c][s][k].
  void (*backward_weight)(const DirectConv& conv, const float* x, const float* grad_y, float* sums,
                          std::ptrdiff_t row_begin, std::ptrdiff_t row_end) noexcept;
  // The same for the first image alone, output channels in the lanes: y_k = 1, x has any strides. One sum for
  // each element, in the order [r][c][s][k], channels padded to a multiple of kConvLanes.
  void (*backward_weight_image)(const DirectConv& conv, const float* x, const float* grad_y,
                                float* sums) noexcept;
  // out[i] = sum over the lanes of sums[i * kConvLanes + lane].
  void (*reduce_sums)(const float* sums, float* out, std::ptrdiff_t n) noexcept;
};

NIBBLE_DECLARE_KERNELS(ConvKernels, conv_kernels)

}  // namespace nibble
