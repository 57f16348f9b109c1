#include "tensor/layout.h"

#include <array>
#include <cstdlib>
#include <utility>

#include "tensor/factory.h"

namespace nibble {

bool is_broadcast(const Tensor& x) {
  for (int i = 0; i < x.rank(); ++i)
    if (x.strides()[i] == 0 && x.shape()[i] > 1) return true;
  return false;
}

Strides dense_strides_like(const Tensor& x) {
  const Shape& shape = x.shape();
  std::array<int, Shape::kMaxRank> order{};  // outermost first
  for (int i = 0; i < x.rank(); ++i) {
    if (shape[i] > 1 && x.strides()[i] == 0) return contiguous_strides(shape);
    order[static_cast<std::size_t>(i)] = i;
  }
  // A dimension of size 1 has no place of its own: it stays behind its left neighbour, where a contiguous
  // tensor has it.
  std::array<std::int64_t, Shape::kMaxRank> key{};
  for (int i = 0; i < x.rank(); ++i) {
    const std::size_t k = static_cast<std::size_t>(i);
    key[k] = shape[i] == 1 && i > 0 ? key[k - 1] : std::abs(x.strides()[i]);
  }
  const auto outer = [&](int a, int b) {
    return key[static_cast<std::size_t>(a)] > key[static_cast<std::size_t>(b)];
  };
  for (int i = 1; i < x.rank(); ++i)
    for (int j = i; j > 0; --j) {
      auto& left = order[static_cast<std::size_t>(j - 1)];
      auto& right = order[static_cast<std::size_t>(j)];
      if (!outer(right, left)) break;
      std::swap(left, right);
    }
  Strides strides = shape;
  std::int64_t next = 1;
  for (int i = x.rank() - 1; i >= 0; --i) {
    const int dim = order[static_cast<std::size_t>(i)];
    strides[dim] = next;
    next *= shape[dim] > 0 ? shape[dim] : 1;
  }
  return strides;
}

Tensor empty_in_layout_of(const Tensor& x) {
  const Tensor block = empty({x.numel()}, x.dtype());
  return Tensor(block.storage(), x.shape(), dense_strides_like(x), 0, x.dtype());
}

Tensor with_strides(const Tensor& x, const Strides& strides) {
  // Where a dimension has one index, its stride leads nowhere.
  bool lies_so = true;
  for (int i = 0; i < x.rank(); ++i) lies_so &= x.size(i) <= 1 || x.strides()[i] == strides[i];
  if (lies_so) return Tensor(x.storage(), x.shape(), strides, x.offset(), x.dtype());
  const Tensor block = empty({x.numel()}, x.dtype());
  Tensor copy(block.storage(), x.shape(), strides, 0, x.dtype());
  copy.copy_from(x);
  return copy;
}

}  // namespace nibble
