#include "quant/integer/bounds.h"

#include <algorithm>
#include <cstdlib>

namespace nibble::quant {

int ProductBounds::bits() const {
  int bits = 1;
  while (bits < 64 && largest > (std::int64_t{1} << (bits - 1)) - 1) ++bits;
  return bits;
}

ProductBounds bounds_of(const IntProduct& layer, const CodeFormat& input) {
  const std::int64_t lo = std::int64_t{input.lo} - input.zero_point,
                     hi = std::int64_t{input.hi} - input.zero_point;
  // Padding is 0, which lies between the two.
  const std::int64_t magnitude = std::max(std::llabs(lo), std::llabs(hi));
  const Tensor weight = layer.weight.contiguous();
  const std::int64_t per_channel = weight.numel() / std::max<std::int64_t>(1, weight.size(0));
  const std::int8_t* w = weight.data<std::int8_t>();
  ProductBounds bounds;
  for (std::size_t k = 0; k < layer.bias.size(); ++k) {
    std::int64_t least = layer.bias[k], most = layer.bias[k], sum = std::llabs(layer.bias[k]);
    for (std::int64_t i = 0; i < per_channel; ++i, ++w) {
      least += std::min({lo * *w, hi * *w, std::int64_t{0}});
      most += std::max({lo * *w, hi * *w, std::int64_t{0}});
      sum += magnitude * std::abs(*w);
    }
    bounds.lo.push_back(least);
    bounds.hi.push_back(most);
    bounds.largest = std::max(bounds.largest, sum);
  }
  return bounds;
}

}  // namespace nibble::quant
