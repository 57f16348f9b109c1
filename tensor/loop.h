#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "tensor/parallel.h"
#include "tensor/shape.h"

namespace nibble {

// The dimensions of an elementwise operation over N operands of one (broadcast) shape, ordered by the strides
// of operand 0 and merged where they lie back to back in every operand. Tensors of the same dense layout, in
// whatever order of dimensions, come out as a single row.
template <std::size_t N>
struct Loop {
  Shape outer;  // sizes around the row
  std::array<Strides, N> outer_strides;
  std::int64_t row = 1;              // elements in a row
  std::array<std::int64_t, N> step;  // stride of each operand within a row
};

namespace detail {
// `strides` holds n strides lists; on return sizes and strides are permuted and merged.
void coalesce(Shape& sizes, Strides* strides, std::size_t n);
}  // namespace detail

template <std::size_t N>
Loop<N> make_loop(Shape sizes, std::array<Strides, N> strides) {
  detail::coalesce(sizes, strides.data(), N);
  Loop<N> loop;
  const int last = sizes.rank() - 1;
  loop.row = sizes[last];
  loop.outer = sizes.erased(last);
  for (std::size_t k = 0; k < N; ++k) {
    loop.step[k] = strides[k][last];
    loop.outer_strides[k] = strides[k].erased(last);
  }
  return loop;
}

// The loop over the lines along `dim`: its elements are the first elements of the lines.
template <std::size_t N>
Loop<N> make_line_loop(const Shape& shape, std::array<Strides, N> strides, int dim) {
  for (Strides& each : strides) each = each.erased(dim);
  return make_loop<N>(shape.erased(dim), strides);
}

// Calls f(offsets, n) for pieces of rows that cover the loop, in parallel; offsets[k] is in elements of
// operand k.
template <std::size_t N, class F>
void for_each_row(const Loop<N>& loop, F&& f) {
  constexpr std::int64_t kGrain = 16384;  // elements: below that a second thread costs more than it brings
  const std::int64_t rows = loop.outer.numel();
  if (rows == 0 || loop.row == 0) return;
  const std::int64_t pieces = std::max<std::int64_t>(1, loop.row / kGrain);
  const std::int64_t length = (loop.row + pieces - 1) / pieces;
  parallel_for(rows * pieces, std::max<std::int64_t>(1, kGrain / length),
               [&](std::int64_t begin, std::int64_t end) {
                 const int rank = loop.outer.rank();
                 Shape index = loop.outer;
                 std::array<std::int64_t, N> base{};
                 std::int64_t rest = begin / pieces, piece = begin % pieces;
                 for (int d = rank - 1; d >= 0; --d) {
                   index[d] = rest % loop.outer[d];
                   rest /= loop.outer[d];
                   for (std::size_t k = 0; k < N; ++k) base[k] += index[d] * loop.outer_strides[k][d];
                 }
                 for (std::int64_t i = begin; i < end; ++i) {
                   const std::int64_t start = piece * length, n = std::min(length, loop.row - start);
                   std::array<std::int64_t, N> offsets = base;
                   for (std::size_t k = 0; k < N; ++k) offsets[k] += start * loop.step[k];
                   if (n > 0) f(offsets, n);
                   if (++piece < pieces) continue;
                   piece = 0;
                   // Counts up like an odometer: divisions would cost more than a short row.
                   for (int d = rank - 1; d >= 0; --d) {
                     const bool carry = ++index[d] == loop.outer[d];
                     const std::int64_t moved = carry ? 1 - loop.outer[d] : 1;
                     for (std::size_t k = 0; k < N; ++k) base[k] += moved * loop.outer_strides[k][d];
                     if (!carry) break;
                     index[d] = 0;
                   }
                 }
               });
}

}  // namespace nibble
