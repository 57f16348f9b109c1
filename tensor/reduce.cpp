#include "tensor/reduce.h"

#include <algorithm>
#include <vector>

#include "tensor/divide_up.h"
#include "tensor/factory.h"
#include "tensor/kernels/elementwise.h"
#include "tensor/kernels/reduce.h"
#include "tensor/kernels/reference.h"
#include "tensor/layout.h"
#include "tensor/loop.h"

#define NIBBLE_TIER reference
#include "tensor/kernels/elementwise_ops.h"

namespace nibble {
namespace {

constexpr std::int64_t kChunk = 8192;     // elements added up into one partial sum
constexpr std::int64_t kChunkRows = 256;  // rows added up into one partial row

template <class T>
using Sum = std::conditional_t<std::is_same_v<T, float>, double, T>;

struct Dims {
  Shape sizes;
  Strides in, out;

  void push(std::int64_t size, std::int64_t in_stride, std::int64_t out_stride) {
    const int rank = sizes.rank();
    sizes = sizes.inserted(rank, size);
    in = in.inserted(rank, in_stride);
    out = out.inserted(rank, out_stride);
  }
};

// A sum as loops around a row that is either reduced to one element or kept. Both kinds of loop follow the
// order of x in memory.
struct SumPlan {
  Dims kept, reduced;
  std::int64_t row, in_step, out_step;

  SumPlan(const Tensor& x, const Tensor& wide_out) {
    const auto loop = make_loop<2>(x.shape(), {x.strides(), wide_out.strides()});
    for (int d = 0; d < loop.outer.rank(); ++d)
      (loop.outer_strides[1][d] == 0 ? reduced : kept)
          .push(loop.outer[d], loop.outer_strides[0][d], loop.outer_strides[1][d]);
    row = loop.row, in_step = loop.step[0], out_step = loop.step[1];
  }
};

template <class T>
Sum<T> sum_run(const T* x, std::int64_t step, std::int64_t n) {
  if constexpr (std::is_same_v<T, float>)
    if (step == 1) return static_cast<double>(reduce_kernels().sum(x, static_cast<std::size_t>(n)));
  return reference::sum<T, Sum<T>>(x, step, n);
}

template <class T>
void sum_rows_to_elements(const SumPlan& plan, const T* x, T* out) {
  const std::int64_t pieces = divide_up(plan.row, kChunk), length = divide_up(plan.row, pieces);
  const std::int64_t units = plan.reduced.sizes.numel() * pieces;
  const std::int64_t units_per_chunk = std::max<std::int64_t>(1, kChunk / plan.row);
  const std::int64_t chunks = divide_up(units, units_per_chunk), kept = plan.kept.sizes.numel();
  std::vector<Sum<T>> partial(static_cast<std::size_t>(kept * chunks));
  // The first chunks of all sums come first: of the planes of images, a thread reads the rows that it reads
  // in convolutions and pooling, which its cache still holds, and leaves the others to the other threads'
  // caches.
  parallel_for(
      kept * chunks, divide_up(kChunk, units_per_chunk * length), [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t task = begin; task < end; ++task) {
          const T* const base = x + offset_of(task % kept, plan.kept.sizes, plan.kept.in);
          const std::int64_t first = task / kept * units_per_chunk;
          Sum<T> total{0};
          for (std::int64_t unit = first; unit < std::min(units, first + units_per_chunk); ++unit) {
            const std::int64_t start = unit % pieces * length;
            const std::int64_t row = offset_of(unit / pieces, plan.reduced.sizes, plan.reduced.in);
            total +=
                sum_run(base + row + start * plan.in_step, plan.in_step, std::min(length, plan.row - start));
          }
          partial[static_cast<std::size_t>(task)] = total;
        }
      });
  for (std::int64_t i = 0; i < kept; ++i)
    out[offset_of(i, plan.kept.sizes, plan.kept.out)] =
        static_cast<T>(reference::sum(partial.data() + i, kept, chunks));
}

template <class T>
void add_row(const T* x, std::int64_t step, T* total, std::int64_t n) {
  if constexpr (std::is_same_v<T, float>)
    if (step == 1) return elementwise_kernels().add(total, 1, x, 1, total, static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) total[i] += x[i * step];
}

template <class T>
void sum_rows_to_row(const SumPlan& plan, const T* x, T* out) {
  const std::int64_t rows = plan.reduced.sizes.numel(), chunks = divide_up(rows, kChunkRows);
  const std::int64_t kept = plan.kept.sizes.numel(), n = plan.row;
  std::vector<T> partial(static_cast<std::size_t>(kept * chunks * n));
  parallel_for(kept * chunks, divide_up(kChunk, n * std::min(rows, kChunkRows)),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t task = begin; task < end; ++task) {
                   const T* const base = x + offset_of(task / chunks, plan.kept.sizes, plan.kept.in);
                   const std::int64_t first = task % chunks * kChunkRows;
                   for (std::int64_t r = first; r < std::min(rows, first + kChunkRows); ++r)
                     add_row(base + offset_of(r, plan.reduced.sizes, plan.reduced.in), plan.in_step,
                             partial.data() + task * n, n);
                 }
               });
  for (std::int64_t i = 0; i < kept; ++i) {
    T* const total = partial.data() + i * chunks * n;
    for (std::int64_t c = 1; c < chunks; ++c) add_row<T>(total + c * n, 1, total, n);
    T* const o = out + offset_of(i, plan.kept.sizes, plan.kept.out);
    for (std::int64_t k = 0; k < n; ++k) o[k * plan.out_step] = total[k];
  }
}

unsigned mask_of(const char* name, const std::vector<int>& dims, int rank) {
  if (dims.empty()) return ~0u;
  unsigned mask = 0;
  for (int dim : dims) {
    const unsigned bit = 1u << normalize_dim(name, dim, rank);
    NIBBLE_CHECK(!(mask & bit), name, ": dim ", dim, " occurs twice");
    mask |= bit;
  }
  return mask;
}

bool in(unsigned mask, int dim) { return (mask >> dim & 1u) != 0; }

Tensor sum_masked(const Tensor& x, unsigned mask) {
  Shape kept = x.shape();
  for (int i = 0; i < x.rank(); ++i)
    if (in(mask, i)) kept[i] = 1;
  Tensor out = empty_in_layout_of(Tensor(x.storage(), kept, x.strides(), 0, x.dtype()));
  if (x.numel() == 0) {
    out.fill(0);
    return out;
  }
  const SumPlan plan(x, out.broadcast_to(x.shape()));
  visit(x.dtype(), [&](auto type) {
    using T = decltype(type);
    if (plan.out_step == 0)
      sum_rows_to_elements(plan, x.data<T>(), out.mutable_data<T>());
    else
      sum_rows_to_row(plan, x.data<T>(), out.mutable_data<T>());
  });
  return out;
}

Tensor drop_dims(Tensor x, unsigned mask) {
  for (int i = x.rank() - 1; i >= 0; --i)
    if (in(mask, i)) x = x.squeeze(i);
  return x;
}

// Folds all elements: run(x, step, n) gives the result over n > 0 of them, combine joins two results.
template <class T, class Run, class Combine>
T fold(const Tensor& x, Run run, Combine combine) {
  const auto loop = make_loop<1>(x.shape(), {x.strides()});
  const std::int64_t pieces = divide_up(loop.row, kChunk), length = divide_up(loop.row, pieces);
  const std::int64_t units = loop.outer.numel() * pieces;
  std::vector<T> partial(static_cast<std::size_t>(units));
  const T* const data = x.data<T>();
  parallel_for(units, divide_up(kChunk, length), [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t unit = begin; unit < end; ++unit) {
      const std::int64_t start = unit % pieces * length;
      const std::int64_t row = offset_of(unit / pieces, loop.outer, loop.outer_strides[0]);
      partial[static_cast<std::size_t>(unit)] =
          run(data + row + start * loop.step[0], loop.step[0], std::min(length, loop.row - start));
    }
  });
  T result = partial[0];
  for (const T& value : partial) result = combine(result, value);
  return result;
}

struct Same {
  template <class T>
  T operator()(T x) const {
    return x;
  }
};

using ExtremumKernel = float (*)(const float*, std::size_t) noexcept;

// x[0] joined with the others by `combine`, which hands on a NaN; `map` comes first.
template <class Map, class Combine>
Tensor extremum(const Tensor& x, ExtremumKernel kernel, Map map, Combine combine) {
  Tensor out = empty({}, x.dtype());
  visit(x.dtype(), [&](auto type) {
    using T = decltype(type);
    const auto run = [&](const T* p, std::int64_t step, std::int64_t n) {
      if constexpr (std::is_same_v<T, float>)
        if (step == 1) return kernel(p, static_cast<std::size_t>(n));
      T result = map(p[0]);
      for (std::int64_t i = 1; i < n; ++i) result = combine(result, map(p[i * step]));
      return result;
    };
    *out.mutable_data<T>() = fold<T>(x, run, combine);
  });
  return out;
}

}  // namespace

Tensor sum(const Tensor& x, const std::vector<int>& dims, bool keepdim) {
  NIBBLE_CHECK(x.defined(), "sum: undefined tensor");
  const unsigned mask = mask_of("sum", dims, x.rank());
  const Tensor out = sum_masked(x, mask);
  return keepdim ? out : drop_dims(out, mask);
}

Tensor mean(const Tensor& x, const std::vector<int>& dims, bool keepdim) {
  NIBBLE_CHECK(x.defined() && is_floating_point(x.dtype()), "mean: expected a float32 or float64 tensor");
  Tensor out = sum(x, dims, keepdim);
  const unsigned mask = mask_of("mean", dims, x.rank());
  std::int64_t count = 1;
  for (int i = 0; i < x.rank(); ++i)
    if (in(mask, i)) count *= x.size(i);
  const auto loop = make_loop<1>(out.shape(), {out.strides()});
  visit(x.dtype(), [&](auto type) {
    using T = decltype(type);
    if constexpr (std::is_floating_point_v<T>) {
      T* const values = out.mutable_data<T>();
      for_each_row(loop, [&](const auto& at, std::int64_t n) {
        for (std::int64_t i = 0; i < n; ++i) values[at[0] + i * loop.step[0]] /= static_cast<T>(count);
      });
    }
  });
  return out;
}

MaxResult max(const Tensor& x, int dim, bool keepdim) {
  NIBBLE_CHECK(x.defined(), "max: undefined tensor");
  dim = normalize_dim("max", dim, x.rank());
  NIBBLE_CHECK(x.size(dim) > 0, "max: dim ", dim, " of shape ", x.shape(), " is empty");
  const Shape shape = x.shape().erased(dim);
  MaxResult result{empty(shape, x.dtype()), empty(shape, DType::int64)};
  const auto loop =
      make_line_loop<2>(x.shape(), {result.values.strides().inserted(dim, 0), x.strides()}, dim);
  const std::int64_t n = x.size(dim), step = x.strides()[dim];
  std::int64_t* const indices = result.indices.mutable_data<std::int64_t>();
  visit(x.dtype(), [&](auto type) {
    using T = decltype(type);
    const T* const in = x.data<T>();
    T* const values = result.values.mutable_data<T>();
    for_each_row(loop, [&](const auto& at, std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i) {
        const T* const line = in + at[1] + i * loop.step[1];
        const std::int64_t to = at[0] + i * loop.step[0], best = reference::argmax(line, step, n);
        indices[to] = best;
        values[to] = line[best * step];
      }
    });
  });
  if (keepdim) result = {result.values.unsqueeze(dim), result.indices.unsqueeze(dim)};
  return result;
}

Tensor argmax(const Tensor& x, int dim) { return max(x, dim).indices; }

Tensor max(const Tensor& x) {
  NIBBLE_CHECK(x.defined() && x.numel() > 0, "max: empty tensor");
  return extremum(x, reduce_kernels().max, Same{}, reference::Maximum{});
}

Tensor min(const Tensor& x) {
  NIBBLE_CHECK(x.defined() && x.numel() > 0, "min: empty tensor");
  return extremum(x, reduce_kernels().min, Same{}, reference::Minimum{});
}

Tensor abs_max(const Tensor& x) {
  NIBBLE_CHECK(x.defined(), "abs_max: undefined tensor");
  if (x.numel() == 0) return scalar(0, x.dtype());
  return extremum(x, reduce_kernels().abs_max, reference::Abs{}, reference::Maximum{});
}

Tensor sum_to(const Tensor& x, const Shape& shape) {
  if (x.shape() == shape) return x;
  NIBBLE_CHECK(broadcast_shapes("sum_to", x.shape(), shape) == x.shape(), "sum_to: shape ", x.shape(),
               " is not ", shape, " broadcast");
  const int missing = x.rank() - shape.rank();
  unsigned mask = 0;
  for (int i = 0; i < x.rank(); ++i)
    if (i < missing || (shape[i - missing] == 1 && x.shape()[i] != 1)) mask |= 1u << i;
  return drop_dims(sum_masked(x, mask), (1u << missing) - 1);
}

}  // namespace nibble
