#include "tensor/reduce.h"

#include "tensor/factory.h"
#include "tensor/loop.h"

namespace nibble {

Tensor sum(const Tensor& x, const std::vector<int>& dims, bool keepdim) {
  Shape kept = x.shape();
  unsigned reduced = 0;
  for (int dim : dims) reduced |= 1u << normalize_dim("sum", dim, x.rank());
  if (dims.empty()) reduced = ~0u;
  for (int i = 0; i < x.rank(); ++i)
    if (reduced >> i & 1u) kept[i] = 1;
  Tensor out = zeros(kept, x.dtype());
  const Tensor wide = out.broadcast_to(x.shape());
  visit(x.dtype(), [&](auto type) {
    using T = decltype(type);
    const T* in = x.data<T>();
    T* o = out.mutable_data<T>();
    const auto loop = make_loop<2>(x.shape(), {x.strides(), wide.strides()});
    const std::int64_t rows = loop.outer.numel();
    for (std::int64_t r = 0; r < rows; ++r) {
      std::int64_t a = 0, b = 0, rest = r;
      for (int d = loop.outer.rank() - 1; d >= 0; --d) {
        a += rest % loop.outer[d] * loop.outer_strides[0][d];
        b += rest % loop.outer[d] * loop.outer_strides[1][d];
        rest /= loop.outer[d];
      }
      for (std::int64_t k = 0; k < loop.row; ++k) o[b + k * loop.step[1]] += in[a + k * loop.step[0]];
    }
  });
  if (keepdim) return out;
  Shape squeezed;
  for (int i = 0; i < x.rank(); ++i)
    if (!(reduced >> i & 1u)) squeezed = squeezed.inserted(squeezed.rank(), x.shape()[i]);
  return out.reshape(squeezed);
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  const int missing = x.rank() - shape.rank();
  std::vector<int> dims;
  for (int i = 0; i < x.rank(); ++i)
    if (i < missing || (shape[i - missing] == 1 && x.shape()[i] != 1)) dims.push_back(i);
  return sum(x, dims, true).reshape(shape);
}

}  // namespace nibble
