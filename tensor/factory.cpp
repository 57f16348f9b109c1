#include "tensor/factory.h"

namespace nibble {

Tensor empty(const Shape& shape, DType dtype) {
  const std::int64_t numel = shape.numel();
  std::int64_t bytes = 0;
  NIBBLE_CHECK(!__builtin_mul_overflow(numel, static_cast<std::int64_t>(size_of(dtype)), &bytes),
               "empty: ", shape, " of ", dtype, " is larger than memory can be");
  return Tensor(Storage::allocate(static_cast<std::size_t>(bytes)), shape, contiguous_strides(shape), 0,
                dtype);
}

Tensor empty_like(const Tensor& like) { return empty(like.shape(), like.dtype()); }

Tensor full(const Shape& shape, double value, DType dtype) {
  Tensor result = empty(shape, dtype);
  result.fill(value);
  return result;
}

Tensor zeros(const Shape& shape, DType dtype) { return full(shape, 0, dtype); }
Tensor ones(const Shape& shape, DType dtype) { return full(shape, 1, dtype); }
Tensor scalar(double value, DType dtype) { return full({}, value, dtype); }

namespace {

template <class F>
Tensor generate(const Shape& shape, DType dtype, F next) {
  Tensor result = empty(shape, dtype);
  visit(dtype, [&](auto type) {
    using T = decltype(type);
    for (T& value : result.mutable_values<T>()) value = static_cast<T>(next());
  });
  return result;
}

}  // namespace

Tensor arange(std::int64_t n, DType dtype) {
  return generate({n}, dtype, [i = std::int64_t{0}]() mutable { return i++; });
}

Tensor uniform(const Shape& shape, double low, double high, Rng& rng, DType dtype) {
  return generate(shape, dtype, [&] { return low + (high - low) * rng.uniform(); });
}

Tensor normal(const Shape& shape, double mean, double stddev, Rng& rng, DType dtype) {
  return generate(shape, dtype, [&] { return mean + stddev * rng.normal(); });
}

}  // namespace nibble
