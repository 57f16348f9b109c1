#pragma once

#include "tensor/tensor.h"

namespace nibble {

// Whether several elements of x are one in memory, as broadcast_to() makes them: nothing to write to.
bool is_broadcast(const Tensor& x);

// Strides without gaps that keep the order in which the dimensions of x lie in memory; row-major when x is
// broadcast (has a stride of 0), since then there is no order to keep.
Strides dense_strides_like(const Tensor& x);

// Undefined contents, the shape of x, dense_strides_like(x).
Tensor empty_in_layout_of(const Tensor& x);

// A view of x when its elements lie as these strides say, else a copy of it that does. `strides` must be
// dense for x's shape.
Tensor with_strides(const Tensor& x, const Strides& strides);

// Where the element with a row-major index lies, in elements from the first.
inline std::int64_t offset_of(std::int64_t index, const Shape& sizes, const Strides& strides) {
  std::int64_t offset = 0;
  for (int d = sizes.rank() - 1; d >= 0; --d) {
    offset += index % sizes[d] * strides[d];
    index /= sizes[d];
  }
  return offset;
}
inline std::int64_t offset_of(const Tensor& x, std::int64_t index) {
  return offset_of(index, x.shape(), x.strides());
}

}  // namespace nibble
