#pragma once

#include <vector>

#include "tensor/random.h"
#include "tensor/tensor.h"

namespace nibble {

// Contiguous tensors. All throw std::invalid_argument where the bytes of a shape leave 63 bits, std::bad_alloc
// where the system has no memory for them.

Tensor empty(const Shape& shape, DType dtype = DType::float32);  // contents undefined
Tensor empty_like(const Tensor& like);                           // contiguous, same shape and dtype
Tensor zeros(const Shape& shape, DType dtype = DType::float32);
Tensor ones(const Shape& shape, DType dtype = DType::float32);
Tensor full(const Shape& shape, double value, DType dtype = DType::float32);
Tensor scalar(double value, DType dtype = DType::float32);  // rank 0
Tensor arange(std::int64_t n, DType dtype = DType::int64);  // 0, 1, ..., n-1
// In [low, high), and of the normal distribution; drawn in float64, in row-major order.
Tensor uniform(const Shape& shape, double low, double high, Rng& rng, DType dtype = DType::float32);
Tensor normal(const Shape& shape, double mean, double stddev, Rng& rng, DType dtype = DType::float32);

// Copies `values` in row-major order; throws unless their number is shape.numel().
template <class T>
Tensor from_values(const Shape& shape, const std::vector<T>& values) {
  NIBBLE_CHECK(static_cast<std::int64_t>(values.size()) == shape.numel(), "from_values: ", values.size(),
               " values for shape ", shape);
  Tensor result = empty(shape, dtype_of<T>());
  std::copy(values.begin(), values.end(), result.mutable_values<T>().begin());
  return result;
}

}  // namespace nibble
