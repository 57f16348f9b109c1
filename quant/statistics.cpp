#include "quant/statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <vector>

#include "autograd/no_grad.h"
#include "autograd/node.h"
#include "tensor/factory.h"
#include "tensor/kernels/reduce.h"
#include "tensor/layout.h"
#include "tensor/parallel.h"

namespace nibble::quant {
namespace {

// What the elements are ordered by. Keys are integers, so that NaN has a place: above infinity, as in
// PyTorch.
enum class Key { magnitude, positive, value };  // |x|, max(x, 0), x

std::int32_t key_of(Key key, float x) {
  if (std::isnan(x)) return std::numeric_limits<std::int32_t>::max();
  if (key == Key::magnitude) x = std::fabs(x);
  if (x == 0 || (key == Key::positive && x < 0)) return 0;
  const auto bits = std::bit_cast<std::int32_t>(x);
  return bits < 0 ? bits ^ 0x7fffffff : bits;
}

struct Element {
  std::int32_t key;
  std::int64_t offset;  // in memory order of the dense tensor
};

// Largest key first; of equal keys the one that comes first in memory.
bool precedes(const Element& a, const Element& b) {
  return a.key != b.key ? a.key > b.key : a.offset < b.offset;
}

// No element of the block has a larger key than this.
std::int32_t bound_of(Key key, const float* x, std::int64_t n) {
  const auto kernel = key == Key::magnitude ? reduce_kernels().abs_max : reduce_kernels().max;
  return key_of(key, kernel(x, static_cast<std::size_t>(n)));
}

constexpr std::int64_t kBlock = 256;

// The first `count` elements of x[begin, end) in the order of precedes. Whole blocks that hold nothing larger
// than what is kept already are passed over at the speed of a maximum.
std::vector<Element> largest_few(Key key, const float* x, std::int64_t begin, std::int64_t end,
                                 std::size_t count) {
  std::vector<Element> kept;
  kept.reserve(count + 1);
  for (std::int64_t block = begin; block < end; block += kBlock) {
    const std::int64_t last = std::min(end, block + kBlock);
    if (kept.size() == count && bound_of(key, x + block, last - block) <= kept.back().key) continue;
    for (std::int64_t i = block; i < last; ++i) {
      const Element element{key_of(key, x[i]), i};
      if (kept.size() == count && !precedes(element, kept.back())) continue;
      kept.insert(std::upper_bound(kept.begin(), kept.end(), element, precedes), element);
      if (kept.size() > count) kept.pop_back();
    }
  }
  return kept;
}

// The `rank`-th of n elements in the order of precedes (1-based). Percentiles near 100 ask for a handful of
// the largest, so each fixed-size chunk keeps its own few and nothing is sorted.
Element nth_largest(Key key, const float* x, std::int64_t n, std::int64_t rank) {
  constexpr std::int64_t kFew = 64, kChunk = 1 << 15;
  std::vector<Element> candidates;
  if (rank > kFew) {
    candidates.reserve(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) candidates.push_back({key_of(key, x[i]), i});
  } else {
    std::vector<std::vector<Element>> best(static_cast<std::size_t>((n + kChunk - 1) / kChunk));
    parallel_for(static_cast<std::int64_t>(best.size()), 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t chunk = begin; chunk < end; ++chunk)
        best[static_cast<std::size_t>(chunk)] = largest_few(
            key, x, chunk * kChunk, std::min(n, (chunk + 1) * kChunk), static_cast<std::size_t>(rank));
    });
    for (const auto& kept : best) candidates.insert(candidates.end(), kept.begin(), kept.end());
  }
  const auto nth = candidates.begin() + (rank - 1);
  std::nth_element(candidates.begin(), nth, candidates.end(), precedes);
  return *nth;
}

bool is_tied(Key key, const float* x, std::int64_t n, std::int32_t value) {
  int found = 0;
  for (std::int64_t block = 0; block < n; block += kBlock) {
    const std::int64_t last = std::min(n, block + kBlock);
    if (bound_of(key, x + block, last - block) < value) continue;
    for (std::int64_t i = block; i < last; ++i)
      if (key_of(key, x[i]) == value && ++found > 1) return true;
  }
  return false;
}

// Which of several equal elements is "the" k-th smallest (0-based) is up to the selection algorithm, and the
// gradient goes there; quantized networks make such ties common. This is the algorithm behind torch.kthvalue:
// quickselect with the median of three moved to the left end (Numerical Recipes, section 8.5), on the
// elements in row-major order.
std::int64_t select_index(std::vector<Element>& a, std::int64_t k) {
  std::int64_t left = 0, right = static_cast<std::int64_t>(a.size()) - 1;
  const auto at = [&](std::int64_t i) -> Element& { return a[static_cast<std::size_t>(i)]; };
  const auto order = [&](std::int64_t i, std::int64_t j) {
    if (at(i).key > at(j).key) std::swap(at(i), at(j));
  };
  while (right > left + 1) {
    std::swap(at(left + (right - left) / 2), at(left + 1));
    order(left + 1, right);
    order(left, right);
    if (at(left + 1).key > at(left).key) std::swap(at(left + 1), at(left));
    const std::int32_t pivot = at(left).key;
    std::int64_t i = left + 1, j = right;
    for (;;) {
      do ++i;
      while (pivot > at(i).key);
      do --j;
      while (at(j).key > pivot);
      if (j < i) break;
      std::swap(at(i), at(j));
    }
    std::swap(at(left), at(j));
    if (j <= k) left = i;
    if (j >= k) right = j - 1;
  }
  if (right == left + 1) order(left, right);
  return at(k).offset;
}

// Offset of the k-th smallest key (1-based) in x, which is dense. Which one of several equal elements it is
// matters to the gradient alone.
std::int64_t kth_smallest(Key key, const Tensor& x, std::int64_t k, bool needs_gradient) {
  const std::int64_t n = x.numel();
  const float* const values = x.data<float>();
  const Element found = nth_largest(key, values, n, n - k + 1);
  if (!needs_gradient || !is_tied(key, values, n, found.key)) return found.offset;
  const Tensor rows = x.contiguous();
  std::vector<Element> elements;
  elements.reserve(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) elements.push_back({key_of(key, rows.data<float>()[i]), i});
  std::int64_t index = select_index(elements, k - 1), offset = 0;
  for (int d = x.rank() - 1; d >= 0; --d) {
    offset += index % x.size(d) * x.strides()[d];
    index /= x.size(d);
  }
  return offset;
}

// A rank-0 result taken from one element of the dense tensor x, with gradient `slope` for it.
Variable pick(const char* name, const Variable& x, const Tensor& dense, std::int64_t offset, float value,
              float slope) {
  return make_op(name, scalar(value), {x},
                 [shape = dense.shape(), strides = dense.strides(), offset, slope](const Tensor& grad,
                                                                                   const Needs&) -> Grads {
                   Tensor flat = zeros({shape.numel()});
                   flat.mutable_data<float>()[offset] = slope * static_cast<float>(grad.item());
                   return {Tensor(flat.storage(), shape, strides, 0, DType::float32)};
                 });
}

// The k-th smallest key of x as a rank-0 result, `value` and `slope` of the element that has it.
template <class Value, class Slope>
Variable order_statistic(const char* name, Key key, const Variable& x, double q, bool from_below, Value value,
                         Slope slope) {
  NIBBLE_CHECK(x.dtype() == DType::float32, name, ": dtype ", x.dtype(), ", expected float32");
  NIBBLE_CHECK(x.value().numel() > 0, name, ": input of shape ", x.shape(), " has no elements");
  NIBBLE_CHECK(q >= 0 && q <= 100, name, ": percentile ", q, ", expected 0 to 100");
  const Tensor dense = with_strides(x.value(), dense_strides_like(x.value()));
  const std::int64_t n = dense.numel();
  const double place = 0.01 * q * static_cast<double>(n);
  const auto k = static_cast<std::int64_t>(from_below ? std::ceil(place) : std::floor(place + 0.5));
  const std::int64_t offset =
      kth_smallest(key, dense, std::clamp<std::int64_t>(k, 1, n), grad_enabled() && x.requires_grad());
  const float found = dense.data<float>()[offset];
  return pick(name, x, dense, offset, value(found), slope(found));
}

}  // namespace

Variable abs_percentile(const Variable& x, double q, bool relu) {
  if (relu) return high_percentile(x, q, true);  // max(x, 0) is its own magnitude
  return order_statistic(
      "abs_percentile", Key::magnitude, x, q, false, [](float v) { return std::fabs(v); },
      [](float v) { return v > 0   ? 1.0f
                           : v < 0 ? -1.0f
                                   : 0.0f; });
}

Variable high_percentile(const Variable& x, double q, bool relu) {
  return order_statistic(
      "high_percentile", relu ? Key::positive : Key::value, x, q, false,
      [=](float v) { return relu && v <= 0 ? 0.0f : v; },
      [=](float v) { return relu && v <= 0 ? 0.0f : 1.0f; });
}

Variable low_percentile_or_zero(const Variable& x, double q) {
  return order_statistic(
      "low_percentile_or_zero", Key::value, x, q, true, [](float v) { return std::min(v, 0.0f); },
      [](float v) { return v <= 0 ? 1.0f : 0.0f; });
}

}  // namespace nibble::quant
