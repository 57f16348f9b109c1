#include "tensor/shape.h"

#include <algorithm>

#include "tensor/check.h"

namespace nibble {

Shape::Shape(std::span<const std::int64_t> values) {
  NIBBLE_CHECK(values.size() <= kMaxRank, "shape: rank ", values.size(), ", at most ", kMaxRank,
               " is supported");
  std::copy(values.begin(), values.end(), values_.begin());
  rank_ = static_cast<int>(values.size());
}

Shape Shape::filled(int rank, std::int64_t value) {
  NIBBLE_CHECK(rank >= 0 && rank <= kMaxRank, "shape: rank ", rank, ", expected 0 to ", kMaxRank);
  Shape result;
  result.rank_ = rank;
  std::fill_n(result.values_.begin(), rank, value);
  return result;
}

std::int64_t Shape::numel() const {
  std::int64_t product = 1;
  bool overflow = false;
  bool zero = false;
  for (std::int64_t size : *this) {
    NIBBLE_CHECK(size >= 0, "shape: negative size in ", *this);
    zero |= size == 0;
    if (!overflow) overflow = __builtin_mul_overflow(product, size, &product);
  }
  if (zero) return 0;
  NIBBLE_CHECK(!overflow, "shape: ", *this, " has more elements than fit 63 bits");
  return product;
}

Shape Shape::inserted(int position, std::int64_t value) const {
  NIBBLE_CHECK(rank_ < kMaxRank, "shape: rank above ", kMaxRank);
  Shape result = *this;
  ++result.rank_;
  for (int i = rank_; i > position; --i) result[i] = result[i - 1];
  result[position] = value;
  return result;
}

Shape Shape::erased(int position) const {
  Shape result = *this;
  for (int i = position; i + 1 < rank_; ++i) result[i] = result[i + 1];
  --result.rank_;
  return result;
}

bool operator==(const Shape& a, const Shape& b) { return std::equal(a.begin(), a.end(), b.begin(), b.end()); }

std::ostream& operator<<(std::ostream& out, const Shape& shape) {
  out << '[';
  for (int i = 0; i < shape.rank(); ++i) out << (i ? ", " : "") << shape[i];
  return out << ']';
}

Strides contiguous_strides(const Shape& shape) {
  Strides strides = Shape::filled(shape.rank(), 1);
  for (int i = shape.rank() - 2; i >= 0; --i)
    strides[i] = strides[i + 1] * std::max<std::int64_t>(shape[i + 1], 1);
  return strides;
}

Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b) {
  const int rank = std::max(a.rank(), b.rank());
  Shape result = Shape::filled(rank, 1);
  for (int i = 0; i < rank; ++i) {
    const int ia = i - (rank - a.rank());
    const int ib = i - (rank - b.rank());
    const std::int64_t sa = ia < 0 ? 1 : a[ia];
    const std::int64_t sb = ib < 0 ? 1 : b[ib];
    NIBBLE_CHECK(sa == sb || sa == 1 || sb == 1, op, ": shapes ", a, " and ", b, " do not broadcast");
    result[i] = sa == 1 ? sb : sa;
  }
  return result;
}

int normalize_dim(const char* op, int dim, int rank) {
  NIBBLE_CHECK(dim >= -rank && dim < rank, op, ": dim ", dim, " is out of range for rank ", rank);
  return dim < 0 ? dim + rank : dim;
}

}  // namespace nibble
