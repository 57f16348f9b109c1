#pragma once

#include <algorithm>
#include <cstdint>

#include "quant/packed_matrix.h"

namespace nibble::quant {

// How the engine cuts a product of m rows into register tiles, and in which form its weights serve them.
struct Tiling {
  Tiling(const PackedMatrix& w, std::int64_t m, int act_bits);  // m >= 1

  // Tiles of one height but for the last.
  std::int64_t m, height, tiles, last_height;
  bool fits_int16;  // QGemmTile::fits_int16
  WeightForm form;
  // What is left for the sums of rows to correct (RowsToPack); expand_panel takes care of the rest.
  std::int32_t weight_zero_point;
  bool can_read_rows;  // nothing about the weights is against it

  std::int64_t height_of(std::int64_t tile) const { return tile + 1 < tiles ? height : last_height; }
  std::int64_t rows_of(std::int64_t tile) const { return std::min(height, m - tile * height); }  // that exist
  // Whether the kernel takes the rows of a tile as they lie (QGemmKernels::takes_rows), provided that their
  // bytes need no flip and are evenly spaced.
  bool reads_rows(std::int64_t tile) const {
    return can_read_rows && rows_of(tile) >= 2 && rows_of(tile) == height_of(tile);
  }
};

}  // namespace nibble::quant
