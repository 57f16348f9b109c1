#pragma once

#include "tensor/kernels/pool.h"
#include "tensor/pool.h"

namespace nibble {

// Where windows begin.
inline Size2 pool_stride(Size2 kernel, const PoolOptions& options) {
  return options.stride == Size2(0) ? kernel : options.stride;
}

// Pooling of planes of x, of which `images` (or channels) lie next to each other, to y: [N, C, H, W] with
// these strides. Which rows is to be said.
DirectPool direct_pool(const Shape& x, const Strides& x_strides, const Shape& y, const Strides& y_strides,
                       std::int64_t images, Size2 kernel, const PoolOptions& options);

}  // namespace nibble
