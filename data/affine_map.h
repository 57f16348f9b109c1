#pragma once

#include <cstdint>

namespace nibble::data {

// Where the pixels of a transformed image come from, in 16.16 fixed point: pixel (x, y) shows pixel
// (floor(x0 + x_x * x + x_y * y), floor(y0 + y_x * x + y_y * y)) of the source, or 0 if that is outside.
struct AffineMap {
  std::int32_t x0 = 0, x_x = 1 << 16, x_y = 0;
  std::int32_t y0 = 0, y_x = 0, y_y = 1 << 16;  // so far the identity
};

}  // namespace nibble::data
