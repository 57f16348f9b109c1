#include "tensor/loop.h"

#include <cstdlib>
#include <utility>

namespace nibble {

void detail::coalesce(Shape& sizes, Strides* strides, std::size_t n) {
  // Insertion sort by descending stride of operand 0; stable, so broadcast dimensions keep their order.
  const int rank = sizes.rank();
  const auto swap_dims = [&](int a, int b) {
    std::swap(sizes[a], sizes[b]);
    for (std::size_t k = 0; k < n; ++k) std::swap(strides[k][a], strides[k][b]);
  };
  for (int i = 1; i < rank; ++i)
    for (int j = i; j > 0 && std::abs(strides[0][j - 1]) < std::abs(strides[0][j]); --j) swap_dims(j - 1, j);

  int kept = 0;  // dimensions [0, kept) are done
  for (int i = 0; i < rank; ++i) {
    if (sizes[i] == 1) continue;
    bool merge = kept > 0;
    for (std::size_t k = 0; merge && k < n; ++k) merge = strides[k][kept - 1] == strides[k][i] * sizes[i];
    if (merge) {
      sizes[kept - 1] *= sizes[i];
      for (std::size_t k = 0; k < n; ++k) strides[k][kept - 1] = strides[k][i];
    } else {
      sizes[kept] = sizes[i];
      for (std::size_t k = 0; k < n; ++k) strides[k][kept] = strides[k][i];
      ++kept;
    }
  }
  const auto truncate = [&](Shape& values, std::int64_t scalar) {
    values = kept > 0 ? Shape(std::span(values.begin(), static_cast<std::size_t>(kept))) : Shape{scalar};
  };
  for (std::size_t k = 0; k < n; ++k) truncate(strides[k], 0);
  truncate(sizes, 1);
}

}  // namespace nibble
