#pragma once

#include <vector>

#include "tensor/tensor.h"

namespace nibble {

// Reductions over `dims` (negative ones count from the end), over all dimensions when `dims` is empty. With
// keepdim the reduced dimensions stay with size 1. float32 sums are split into chunks whose number does not
// depend on the thread count and are added in order: same bits for any number of threads.

Tensor sum(const Tensor& x, const std::vector<int>& dims = {}, bool keepdim = false);
Tensor mean(const Tensor& x, const std::vector<int>& dims = {},
            bool keepdim = false);  // NaN over no elements

struct MaxResult {
  Tensor values;   // dtype of x
  Tensor indices;  // int64; the first maximum
};
// Throws when the dimension has size 0. A NaN counts as the maximum.
MaxResult max(const Tensor& x, int dim, bool keepdim = false);
Tensor max(const Tensor& x);  // rank 0; throws on an empty tensor
Tensor min(const Tensor& x);
Tensor abs_max(const Tensor& x);          // max |x|, rank 0, 0 for an empty tensor
Tensor argmax(const Tensor& x, int dim);  // int64

// Sums x over the dimensions in which `shape` was broadcast to x.shape(): the adjoint of broadcast_to.
Tensor sum_to(const Tensor& x, const Shape& shape);

}  // namespace nibble
