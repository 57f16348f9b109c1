#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

namespace nibble::quant {

// An array of keys and where they came from, for selection in place. Both spans have the same size.
struct Keys {
  std::span<std::int32_t> key, origin;

  void swap(std::size_t i, std::size_t j) {
    std::swap(key[i], key[j]);
    std::swap(origin[i], origin[j]);
  }
};

// The origin of the k-th smallest key (0-based, k < size). Which of several equal elements that is depends on
// the algorithm, and the gradient of a percentile goes there; quantized networks make such ties common. This
// is the algorithm behind torch.kthvalue: quickselect with the median of three moved to the left end
// (Numerical Recipes, section 8.5).
std::int32_t quickselect(Keys keys, std::size_t k);

}  // namespace nibble::quant
