#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <ostream>
#include <span>

namespace nibble {

// A short list of sizes or strides, held in place. Rank 0 is a scalar.
class Shape {
 public:
  static constexpr int kMaxRank = 8;

  Shape() = default;
  Shape(std::initializer_list<std::int64_t> values) : Shape(std::span(values.begin(), values.size())) {}
  explicit Shape(std::span<const std::int64_t> values);  // throws above kMaxRank
  static Shape filled(int rank, std::int64_t value);

  int rank() const { return rank_; }
  bool empty() const { return rank_ == 0; }
  std::int64_t operator[](int i) const { return values_[static_cast<std::size_t>(i)]; }
  std::int64_t& operator[](int i) { return values_[static_cast<std::size_t>(i)]; }
  const std::int64_t* begin() const { return values_.data(); }
  const std::int64_t* end() const { return values_.data() + rank_; }
  std::int64_t back() const { return values_[static_cast<std::size_t>(rank_ - 1)]; }

  // Product of all values, 1 for rank 0. Throws when negative sizes occur or the product overflows.
  std::int64_t numel() const;

  Shape inserted(int position, std::int64_t value) const;
  Shape erased(int position) const;

  friend bool operator==(const Shape& a, const Shape& b);
  friend std::ostream& operator<<(std::ostream& out, const Shape& shape);  // [2, 3, 4]

 private:
  std::array<std::int64_t, kMaxRank> values_{};
  int rank_ = 0;
};

// In elements, not bytes. A broadcast dimension has stride 0.
using Strides = Shape;

Strides contiguous_strides(const Shape& shape);

// NumPy's rule: shapes are aligned at the right, a size of 1 stretches. Throws std::invalid_argument
// naming both shapes when they do not fit; `op` opens the message.
Shape broadcast_shapes(const char* op, const Shape& a, const Shape& b);

// Maps -rank..rank-1 to 0..rank-1; throws when out of range.
int normalize_dim(const char* op, int dim, int rank);

}  // namespace nibble
