#include "quant/statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/no_grad.h"
#include "autograd/node.h"
#include "quant/kernels/order_keys.h"
#include "quant/quickselect.h"
#include "tensor/factory.h"
#include "tensor/kernels/reduce.h"
#include "tensor/layout.h"
#include "tensor/parallel.h"

namespace nibble::quant {
namespace {

std::int32_t key_of(OrderBy by, float x) {
  const auto bits = std::bit_cast<std::int32_t>(x);
  switch (by) {
    case OrderBy::magnitude:
      return order_key<OrderBy::magnitude>(bits);
    case OrderBy::positive:
      return order_key<OrderBy::positive>(bits);
    default:
      return order_key<OrderBy::value>(bits);
  }
}

struct Element {
  std::int32_t key;
  std::int64_t offset;  // in memory order of the dense tensor
};

// Largest key first; of equal keys the one that comes first in memory.
bool precedes(const Element& a, const Element& b) {
  return a.key != b.key ? a.key > b.key : a.offset < b.offset;
}

std::int32_t largest_key(OrderBy by, const float* x, std::int64_t n) {
  const auto kernel = by == OrderBy::magnitude ? reduce_kernels().abs_max : reduce_kernels().max;
  return key_of(by, kernel(x, static_cast<std::size_t>(n)));
}

struct Ranked {
  Element element;
  bool tied;  // another element has the same key
};

// The `rank`-th of n elements in the order of precedes (1-based). It and the one behind it stand in one of
// the first rank + 1 blocks, in the order of their maxima, since what stands in another comes after all of
// those. Percentiles near 100 ask for a handful of the largest: most blocks are passed over at the speed of a
// maximum.
Ranked nth_largest(OrderBy by, const float* x, std::int64_t n, std::int64_t rank) {
  constexpr std::int64_t kBlock = 1024;
  const auto size_of = [=](std::int64_t begin) { return std::min(kBlock, n - begin); };
  std::vector<Element> maxima(static_cast<std::size_t>((n + kBlock - 1) / kBlock));
  parallel_for(std::ssize(maxima), 32, [&](std::int64_t first, std::int64_t end) {
    for (std::int64_t i = first; i < end; ++i)
      maxima[static_cast<std::size_t>(i)] = {largest_key(by, x + i * kBlock, size_of(i * kBlock)),
                                             i * kBlock};
  });
  std::int32_t least = std::numeric_limits<std::int32_t>::min();
  if (rank < std::ssize(maxima)) {
    std::nth_element(maxima.begin(), maxima.begin() + rank, maxima.end(), precedes);
    least = maxima[static_cast<std::size_t>(rank)].key;
    maxima.resize(static_cast<std::size_t>(rank + 1));
  }

  std::vector<Element> candidates;
  std::int32_t keys[kBlock];
  for (const Element& block : maxima) {
    order_key_kernels().keys(by, x + block.offset, size_of(block.offset), keys);
    for (std::int64_t i = 0; i < size_of(block.offset); ++i)
      if (keys[i] >= least) candidates.push_back({keys[i], block.offset + i});
  }
  const auto nth = candidates.begin() + (rank - 1);
  std::nth_element(candidates.begin(), nth, candidates.end(), precedes);
  const auto others = std::count_if(candidates.begin(), candidates.end(),
                                    [&](const Element& e) { return e.key == nth->key; });
  return {*nth, others > 1};
}

// Row-major index of the element at an offset of the dense tensor x.
std::int64_t index_at(const Tensor& x, std::int64_t offset) {
  std::int64_t index = 0;
  for (int d = 0; d < x.rank(); ++d)
    index = index * x.size(d) + (x.size(d) > 1 ? offset / x.strides()[d] % x.size(d) : 0);
  return index;
}

// The keys of x in row-major order, some planes at a time through `rows`, which stays in the cache: shape and
// order of a part of x.
void write_keys(OrderBy by, const Tensor& x, Tensor rows, std::int32_t* keys) {
  for (std::int64_t first = 0; first < x.size(0); first += rows.size(0)) {
    Tensor part = rows.narrow(0, 0, std::min(rows.size(0), x.size(0) - first));
    part.copy_from(x.narrow(0, first, part.size(0)));
    parallel_for(part.numel(), 1 << 15, [&](std::int64_t begin, std::int64_t end) {
      order_key_kernels().keys(by, part.data<float>() + begin, end - begin, keys + begin);
    });
    keys += part.numel();
  }
}

// The k-th smallest key (1-based) in x, which is dense: row-major index of its element. Which one of several
// equal elements it is matters to the gradient alone.
std::int64_t kth_smallest(OrderBy by, const Tensor& x, std::int64_t k, bool needs_gradient) {
  constexpr std::int64_t kFewRows = 16, kFewElements = 1 << 16;  // at a time, whichever is more
  const std::int64_t n = x.numel();
  const auto [found, tied] = nth_largest(by, x.data<float>(), n, n - k + 1);
  if (!needs_gradient || x.rank() == 0) return index_at(x, found.offset);
  NIBBLE_CHECK(n <= std::numeric_limits<std::int32_t>::max(), "percentile: ", n,
               " elements, expected fewer than 2^31");
  // Taken even without a tie, so that the first one finds the memory in the pool.
  Quickselect selection(n);
  Shape few = x.shape();
  few[0] = std::min(few[0], std::max(kFewRows, kFewElements * few[0] / n));
  const Tensor rows = empty(few);
  if (!tied) return index_at(x, found.offset);
  write_keys(by, x, rows, selection.keys().data());
  return selection.index_of_smallest(k - 1);
}

// The k-th smallest key of x as a rank-0 result, `value` and `slope` of the element that has it.
template <class Value, class Slope>
Variable order_statistic(const char* name, OrderBy by, const Variable& x, double q, bool from_below,
                         Value value, Slope slope) {
  NIBBLE_CHECK(x.dtype() == DType::float32, name, ": dtype ", x.dtype(), ", expected float32");
  NIBBLE_CHECK(x.value().numel() > 0, name, ": input of shape ", x.shape(), " has no elements");
  NIBBLE_CHECK(q >= 0 && q <= 100, name, ": percentile ", q, ", expected 0 to 100");
  const Tensor dense = with_strides(x.value(), dense_strides_like(x.value()));
  const std::int64_t n = dense.numel();
  const double place = 0.01 * q * static_cast<double>(n);
  const auto k = static_cast<std::int64_t>(from_below ? std::ceil(place) : std::floor(place + 0.5));
  const std::int64_t index =
      kth_smallest(by, dense, std::clamp<std::int64_t>(k, 1, n), grad_enabled() && wants_grad(x));
  const float found = dense.data<float>()[offset_of(dense, index)];
  return make_op(name, scalar(value(found)), {x},
                 [index, slope = slope(found)](const Tensor& grad, const Needs&) -> Grads {
                   return {ElementGrad{index, slope * static_cast<float>(grad.item())}};
                 });
}

}  // namespace

Variable abs_percentile(const Variable& x, double q, bool relu) {
  if (relu) return high_percentile(x, q, true);  // max(x, 0) is its own magnitude
  return order_statistic(
      "abs_percentile", OrderBy::magnitude, x, q, false, [](float v) { return std::fabs(v); },
      [](float v) { return v > 0   ? 1.0f
                           : v < 0 ? -1.0f
                                   : 0.0f; });
}

Variable high_percentile(const Variable& x, double q, bool relu) {
  return order_statistic(
      "high_percentile", relu ? OrderBy::positive : OrderBy::value, x, q, false,
      [=](float v) { return relu && v <= 0 ? 0.0f : v; },
      [=](float v) { return relu && v <= 0 ? 0.0f : 1.0f; });
}

Variable low_percentile_or_zero(const Variable& x, double q) {
  return order_statistic(
      "low_percentile_or_zero", OrderBy::value, x, q, true, [](float v) { return std::min(v, 0.0f); },
      [](float v) { return v <= 0 ? 1.0f : 0.0f; });
}

}  // namespace nibble::quant
