#pragma once

// Packing for the matrix product; part of gemm.cpp, see GemmKernels::pack.

#include "tensor/simd/transpose.h"

namespace nibble::NIBBLE_TIER {
namespace {

// Panels of whole vectors, by the rows of x.
inline void pack_rows(const float* x, std::ptrdiff_t k_stride, std::size_t n, std::size_t k,
                      std::size_t width, float* out) {
  for (std::size_t p = 0; p < k; ++p, x += k_stride)
    for (std::size_t j = 0; j < n; j += width) {
      // The next row is out of the processor's foresight: it may lie on another page.
      for (std::size_t i = 0; i < width; i += 16) prefetch_line(x + k_stride + j + i);
      for (std::size_t i = 0; i < width; i += kLanes) store(out + j * k + p * width + i, load(x + j + i));
    }
}

// One panel whose last vector is not whole in x, vector after vector.
inline void pack_odd(const float* x, std::ptrdiff_t k_stride, std::size_t n, std::size_t k, std::size_t width,
                     float* out) {
  const auto for_rows = [&](std::size_t i, auto copy) {
    for (std::size_t p = 0; p < k; ++p)
      copy(x + static_cast<std::ptrdiff_t>(p) * k_stride + i, out + p * width + i);
  };
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    for_rows(i, [](const float* from, float* to) { store(to, load(from)); });
  const std::size_t rest = n - i;
  if (i + kLanes <= width)
    for_rows(i,
             [=](const float* from, float* to) { store(to, load_partial(from, rest)); });  // pads with zeros
  else
    for_rows(i, [=](const float* from, float* to) { store_partial(to, load_partial(from, rest), rest); });
}

void pack(const float* x, std::ptrdiff_t i_stride, std::ptrdiff_t k_stride, std::size_t n, std::size_t k,
          std::size_t width, float* out) noexcept {
  if (i_stride == 1)
    return (n % width == 0 && width % kLanes == 0 ? pack_rows : pack_odd)(x, k_stride, n, k, width, out);
  for (std::size_t j = 0; j < n; j += width) {
    const std::size_t cols = n - j < width ? n - j : width;
    const float* const from = x + static_cast<std::ptrdiff_t>(j) * i_stride;
    float* const to = out + j * k;
    if (cols < width)
      for (std::size_t p = 1; p <= k; ++p) store(to + p * width - kLanes, VecF(0.0f));
    if (k_stride == 1 && i_stride > 0)
      transpose(from, static_cast<std::size_t>(i_stride), cols, k, to, width);
    else
      for (std::size_t p = 0; p < k; ++p)
        for (std::size_t i = 0; i < cols; ++i)
          to[p * width + i] =
              from[static_cast<std::ptrdiff_t>(i) * i_stride + static_cast<std::ptrdiff_t>(p) * k_stride];
  }
}

}  // namespace
}  // namespace nibble::NIBBLE_TIER
