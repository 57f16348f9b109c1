#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/simd/dispatch.h"

namespace nibble {

// Max pooling of one plane of several float32 images that lie next to each other, or of one image's channels
// that do; strides in floats.
struct DirectPool {
  std::ptrdiff_t images;  // or channels
  std::ptrdiff_t h, w, oh, ow;
  std::ptrdiff_t r, s;  // window
  std::ptrdiff_t stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
  std::ptrdiff_t x_h, x_w, y_h, y_w;  // strides; `indices` has those of y
  bool relu;                          // y = max(x, 0) pooled; a window without positive values has index -1,
                                      // as has, with or without relu, one whose taps all lie outside
  std::ptrdiff_t first_row, end_row;  // of y: those to be done
};

struct PoolKernels {
  void (*max_pool)(const DirectPool& pool, const float* x, float* y, std::int32_t* indices) noexcept;
  // Windows must not overlap. Writes every position of grad_x that a window covers, and no other.
  void (*max_pool_backward)(const DirectPool& pool, const float* grad_y, const std::int32_t* indices,
                            float* grad_x) noexcept;
};

NIBBLE_DECLARE_KERNELS(PoolKernels, pool_kernels)

}  // namespace nibble
