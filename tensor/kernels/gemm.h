#pragma once

#include <cstddef>

#include "tensor/simd/dispatch.h"

namespace nibble {

// A block of the product, in register tiles: panel after panel of its columns, and in each panel tiles one
// below the other, `tall` of `rows` rows, then `low` of one row less. c[i, j] (+)= sum over p < k of a[i, p]
// * b[p, j], element by element as a chain of fused multiply-adds in the order of p that begins at zero, or
// at c[i, j] if it accumulates; so neither the size of the tiles, nor the place of an element in one, nor a
// cut through k changes a bit.
struct GemmTiles {
  std::size_t rows;  // 1 to GemmKernels::rows
  std::size_t tall, low;
  std::size_t panels, cols;  // a panel has 1 to GemmKernels::cols columns, as many if there are several
  std::size_t k;
  const float* a;
  std::ptrdiff_t a_row, a_k;  // from row to row, column to column
  bool a_packed;  // tiles one behind the other, each by columns; a_row is k then, a_k means nothing
  const float* b;
  std::ptrdiff_t b_panel;  // from panel to panel
  std::ptrdiff_t b_k;  // rows of b have unit stride and are read in whole vectors: pad them where cols is odd
  // What the processor does not foresee is fetched on the way: while the first `fetchers` tiles of a panel
  // run, the panel so many elements further, every tile its share. 0: none.
  std::size_t fetchers;
  std::ptrdiff_t b_ahead;
  float* c;
  std::ptrdiff_t c_row;
  bool accumulate;
  const float* row_bias;  // nullptr: none
  const float* col_bias;
  bool relu;
};

// The same sums where a lies along k and b has few columns: c[i, j] for i < tiles * lanes and j < cols. Rows
// of a are the lanes; they are turned on the way, so that nothing of a is packed.
struct TurnedTiles {
  std::size_t tiles;  // of `lanes` rows
  std::size_t cols;   // 1 to GemmKernels::turned_cols
  std::size_t k;      // at least 4
  const float* a;
  std::size_t a_row;  // a[i, p] = a[i * a_row + p]
  const float* b;
  std::ptrdiff_t b_k;  // b[p, j] = b[p * b_k + j]
  float* c;
  std::size_t c_col;      // c[i, j] = c[i + j * c_col]
  const float* row_bias;  // nullptr: none
  const float* col_bias;
  bool relu;
};

struct GemmKernels {
  std::size_t lanes;
  std::size_t rows, cols;  // of the largest tile

  void (*run)(const GemmTiles& tiles) noexcept;

  // For up to so many columns.
  std::size_t turned_cols;
  void (*run_turned)(const TurnedTiles& tiles) noexcept;

  // Panels of k x width, one behind the other: out[p * width + i] = x[i * i_stride + p * k_stride] for p < k
  // and i < width in the first, the next `width` columns in the second. n is a multiple of the width, or
  // less: then the width is whole vectors into the last of which n reaches, and zero for n <= i.
  void (*pack)(const float* x, std::ptrdiff_t i_stride, std::ptrdiff_t k_stride, std::size_t n, std::size_t k,
               std::size_t width, float* out) noexcept;
};

NIBBLE_DECLARE_KERNELS(GemmKernels, gemm_kernels)

}  // namespace nibble
