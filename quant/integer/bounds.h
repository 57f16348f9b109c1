#pragma once

#include <cstdint>
#include <vector>

#include "quant/integer/model.h"

namespace nibble::quant {

// What the sums of one layer can be at worst, from its actual weights and the codes that can reach it: the
// overflow proof of a product.
struct ProductBounds {
  std::vector<std::int64_t> lo, hi;  // of acc with its bias, per output channel
  // Of any partial sum of products, in any order, over all channels: sum of |(code - zero_point) * weight| +
  // |bias|.
  std::int64_t largest = 0;

  int bits() const;  // of the smallest two's complement integer that holds `largest` and -largest
};

ProductBounds bounds_of(const IntProduct& layer, const CodeFormat& input);

}  // namespace nibble::quant
