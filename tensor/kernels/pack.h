#pragma once

// Packing for the matrix product; part of gemm.cpp, see GemmKernels::pack.

#include "tensor/simd/transpose.h"

namespace nibble::NIBBLE_TIER {
namespace {

inline void pack_row(const float* x, std::size_t n, std::size_t width, float* out) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, load(x + i));
  if (i == n) {
    for (; i < width; ++i) out[i] = 0.0f;
  } else if (i + kLanes <= width) {
    store(out + i, load_partial(x + i, n - i));  // zeros behind the n elements
    for (i += kLanes; i < width; ++i) out[i] = 0.0f;
  } else {
    store_partial(out + i, load_partial(x + i, n - i), width - i);
  }
}

void pack(const float* x, std::ptrdiff_t i_stride, std::ptrdiff_t k_stride, std::size_t n, std::size_t k,
          std::size_t width, float* out) noexcept {
  if (i_stride == 1) {
    for (std::size_t p = 0; p < k; ++p) {
      const float* const row = x + static_cast<std::ptrdiff_t>(p) * k_stride;
      // The neighbouring panels are next, and long rows are too far apart for the processor to foresee it.
      for (std::size_t i = 0; i < n; i += 16) prefetch_line(row + 2 * width + i);
      pack_row(row, n, width, out + p * width);
    }
    return;
  }
  if (width > n)
    for (std::size_t p = 1; p <= k; ++p) store(out + p * width - kLanes, VecF(0.0f));
  if (k_stride == 1 && i_stride > 0) {
    transpose(x, static_cast<std::size_t>(i_stride), n, k, out, width);
    return;
  }
  for (std::size_t p = 0; p < k; ++p)
    for (std::size_t i = 0; i < n; ++i)
      out[p * width + i] =
          x[static_cast<std::ptrdiff_t>(i) * i_stride + static_cast<std::ptrdiff_t>(p) * k_stride];
}

}  // namespace
}  // namespace nibble::NIBBLE_TIER
