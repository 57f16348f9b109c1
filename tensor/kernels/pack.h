#pragma once

// Packing for the matrix product; part of gemm.cpp, see GemmKernels::pack.

#include "tensor/simd/vec.h"

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
  const auto at = [&](std::size_t i, std::size_t p) {
    return x + static_cast<std::ptrdiff_t>(i) * i_stride + static_cast<std::ptrdiff_t>(p) * k_stride;
  };
  std::size_t done = 0;  // rows, turned four columns at a time; the last four may overlap those before
  if (k_stride == 1 && i_stride > 0 && k >= 4) {
    const auto step = static_cast<std::size_t>(i_stride);
    done = n / 4 * 4;
    for (std::size_t next = 0; next < k; next += 4) {
      const std::size_t p = next + 4 <= k ? next : k - 4;
      std::size_t i = 0;
      for (; i + kLanes <= n; i += kLanes) transpose_lanes_x4(at(i, p), step, out + p * width + i, width);
      for (; i < done; i += 4) transpose_4x4(at(i, p), step, out + p * width + i, width);
    }
  }
  for (std::size_t p = 0; p < k; ++p) {
    for (std::size_t i = done; i < n; ++i) out[p * width + i] = *at(i, p);
    for (std::size_t i = n; i < width; ++i) out[p * width + i] = 0.0f;
  }
}

}  // namespace
}  // namespace nibble::NIBBLE_TIER
