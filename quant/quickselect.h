#pragma once

#include <cstdint>
#include <span>

#include "tensor/tensor.h"

namespace nibble::quant {

// The k-th smallest of n keys. Which of several equal ones that is depends on the algorithm, and the gradient
// of a percentile goes there; quantized networks make such ties common. This is the algorithm behind
// torch.kthvalue: quickselect with the median of three moved to the left end (Numerical Recipes,
// section 8.5). Its partitions go by masks and move keys alone, and only those of the side that holds the
// k-th; where that came from is found afterwards, by going back through the masks.
class Quickselect {
 public:
  // Takes its memory from the pool, where fresh pages would cost more than the selection. 0 < n < 2^31.
  explicit Quickselect(std::int64_t n);

  std::span<std::int32_t> keys();  // for the caller to write, before each selection

  // The index of the k-th smallest key, 0 <= k < n. Scrambles the keys.
  std::int64_t index_of_smallest(std::int64_t k);

 private:
  std::int64_t n_;
  Tensor keys_, buffer_;  // int32
  Tensor masks_;          // int64
};

}  // namespace nibble::quant
