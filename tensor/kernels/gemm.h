#pragma once

#include <cstddef>

#include "tensor/simd/dispatch.h"

namespace nibble {

// One register tile: c[rows, cols] (+)= sum over p < k of a[i, p] * b[p, j], element by element as a chain of
// fused multiply-adds in the order of p that begins at zero; so neither the size of the tile nor the place of
// an element in it changes a bit.
struct GemmTile {
  std::size_t k;
  const float* a;
  std::ptrdiff_t a_row, a_k;
  const float* b;
  std::ptrdiff_t b_k;  // rows of b have unit stride and are read in whole vectors: pad them where cols is odd
  // How many columns further the rows of b are fetched for the next tiles: where they are long the processor
  // does not foresee it. 0: not at all.
  std::ptrdiff_t b_ahead;
  float* c;
  std::ptrdiff_t c_row;
  std::size_t cols;  // 1 to GemmKernels::cols
  bool accumulate;
  const float* row_bias;  // nullptr: none
  const float* col_bias;
  bool relu;
};

struct GemmKernels {
  std::size_t lanes;
  std::size_t rows, cols;  // of the largest tile

  // 1 <= rows <= GemmKernels::rows.
  void (*tile)(std::size_t rows, const GemmTile& tile) noexcept;

  // out[p * width + i] = x[i * i_stride + p * k_stride] for p < k and i < n, zero for n <= i < width.
  void (*pack)(const float* x, std::ptrdiff_t i_stride, std::ptrdiff_t k_stride, std::size_t n, std::size_t k,
               std::size_t width, float* out) noexcept;
};

NIBBLE_DECLARE_KERNELS(GemmKernels, gemm_kernels)

}  // namespace nibble
