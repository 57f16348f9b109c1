#pragma once

#include <cstdint>

#include "tensor/conv.h"

namespace nibble::quant {

// How an image lies in memory between layers of the engine: planes of padded rows, elements x of a row next
// to each other. An element is a word of four channels (plane g: channels 4 g to 4 g + 3, the first in the
// lowest byte), or a byte (a plane for each channel). Kernels read whole vectors, so some elements behind the
// last one are readable.
struct PlaneLayout {
  static constexpr std::int64_t kReadable = 64;

  std::int64_t planes = 0, height = 0, width = 0;
  Size2 before, after;  // padding

  std::int64_t pitch() const { return before.w + width + after.w; }
  std::int64_t rows() const { return before.h + height + after.h; }
  std::int64_t plane() const { return rows() * pitch(); }
  std::int64_t elements() const { return planes * plane() + kReadable; }
  std::int64_t at(std::int64_t p, std::int64_t y, std::int64_t x) const {
    return p * plane() + (y + before.h) * pitch() + x + before.w;
  }
};

inline std::int64_t words_of_channels(std::int64_t channels) { return (channels + 3) / 4; }

}  // namespace nibble::quant
