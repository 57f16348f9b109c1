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
    for (std::size_t p = 0; p < k; ++p)
      pack_row(x + static_cast<std::ptrdiff_t>(p) * k_stride, n, width, out + p * width);
    return;
  }
  const auto at = [&](std::size_t i, std::size_t p) {
    return x + static_cast<std::ptrdiff_t>(i) * i_stride + static_cast<std::ptrdiff_t>(p) * k_stride;
  };
  const bool by_fours = k_stride == 1 && i_stride > 0;
  const std::size_t n4 = by_fours ? n / 4 * 4 : 0, k4 = by_fours ? k / 4 * 4 : 0;
  for (std::size_t p = 0; p < k4; p += 4)
    for (std::size_t i = 0; i < n4; i += 4)
      transpose_4x4(at(i, p), static_cast<std::size_t>(i_stride), out + p * width + i, width);
  for (std::size_t p = 0; p < k; ++p) {
    for (std::size_t i = p < k4 ? n4 : 0; i < n; ++i) out[p * width + i] = *at(i, p);
    for (std::size_t i = n; i < width; ++i) out[p * width + i] = 0.0f;
  }
}

}  // namespace
}  // namespace nibble::NIBBLE_TIER
