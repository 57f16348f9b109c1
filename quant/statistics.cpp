#include "quant/statistics.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>
#include <span>
#include <utility>
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

// Masks instead of branches: nobody can predict the sign of an activation.
std::int32_t key_of(Key key, float x) {
  const auto bits = std::bit_cast<std::int32_t>(x);
  const std::int32_t magnitude = bits & 0x7fffffff, negative = key == Key::magnitude ? 0 : bits >> 31;
  const std::int32_t number = key == Key::value ? (magnitude ^ negative) - negative : magnitude & ~negative;
  const std::int32_t nan = (0x7f800000 - magnitude) >> 31;
  return (number & ~nan) | (nan & std::numeric_limits<std::int32_t>::max());
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

constexpr std::int64_t kBlock = 1024;

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
// the largest, so each thread keeps the few of its run and nothing is sorted.
Element nth_largest(Key key, const float* x, std::int64_t n, std::int64_t rank) {
  constexpr std::int64_t kFew = 64, kChunk = 1 << 15;
  std::vector<Element> candidates;
  if (rank > kFew) {
    candidates.reserve(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i) candidates.push_back({key_of(key, x[i]), i});
  } else {
    // Whatever the runs, what they keep contains the largest of all.
    std::mutex mutex;
    parallel_for(n, kChunk, [&](std::int64_t begin, std::int64_t end) {
      const std::vector<Element> kept = largest_few(key, x, begin, end, static_cast<std::size_t>(rank));
      const std::lock_guard lock(mutex);
      candidates.insert(candidates.end(), kept.begin(), kept.end());
    });
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

// An array of keys and where they came from, for selection in place.
struct Keys {
  std::span<std::int32_t> key, origin;

  void swap(std::size_t i, std::size_t j) {
    std::swap(key[i], key[j]);
    std::swap(origin[i], origin[j]);
  }
};

// Hoare's partition of (left, right) around the key at `left`: swaps the first key from the left that is not
// smaller with the first from the right that is not larger, the second with the second, until they meet. The
// keys at left + 1 and right are such. Candidates are collected block by block without a branch, which nobody
// could predict, and swapped in their order (Edelkamp and Weiss, BlockQuicksort, 2016). Returns where the
// scan from the left (first) and from the right (second) stopped.
std::pair<std::size_t, std::size_t> partition(Keys& a, std::size_t left, std::size_t right) {
  constexpr std::size_t kScan = 128;
  const std::span<std::int32_t> key = a.key;
  const std::int32_t pivot = key[left];
  std::size_t i = left + 1, j = right;         // of the last swap
  std::size_t next_i = i + 1, next_j = j - 1;  // to be scanned next
  std::uint32_t from_left[kScan], from_right[kScan];
  std::size_t begin_left = 0, end_left = 0, begin_right = 0, end_right = 0;
  while (next_j > next_i + 2 * kScan) {
    if (begin_left == end_left) {
      begin_left = end_left = 0;
      for (std::size_t t = 0; t < kScan; ++t) {
        from_left[end_left] = static_cast<std::uint32_t>(next_i + t);
        end_left += key[next_i + t] >= pivot;
      }
      next_i += kScan;
    }
    if (begin_right == end_right) {
      begin_right = end_right = 0;
      for (std::size_t t = 0; t < kScan; ++t) {
        from_right[end_right] = static_cast<std::uint32_t>(next_j - t);
        end_right += key[next_j - t] <= pivot;
      }
      next_j -= kScan;
    }
    const std::size_t pairs = std::min(end_left - begin_left, end_right - begin_right);
    for (std::size_t t = 0; t < pairs; ++t) a.swap(from_left[begin_left + t], from_right[begin_right + t]);
    if (pairs > 0) {
      i = from_left[begin_left + pairs - 1];
      j = from_right[begin_right + pairs - 1];
    }
    begin_left += pairs;
    begin_right += pairs;
  }
  for (;;) {
    do ++i;
    while (key[i] < pivot);
    do --j;
    while (key[j] > pivot);
    if (j < i) return {i, j};
    a.swap(i, j);
  }
}

// Which of several equal elements is "the" k-th smallest (0-based) is up to the selection algorithm, and the
// gradient goes there; quantized networks make such ties common. This is the algorithm behind torch.kthvalue:
// quickselect with the median of three moved to the left end (Numerical Recipes, section 8.5), on the
// elements in row-major order.
std::int64_t select_index(Keys& a, std::size_t k) {
  std::size_t left = 0, right = a.key.size() - 1;
  const auto order = [&](std::size_t i, std::size_t j) {
    if (a.key[i] > a.key[j]) a.swap(i, j);
  };
  while (right > left + 1) {
    a.swap(left + (right - left) / 2, left + 1);
    order(left + 1, right);
    order(left, right);
    order(left + 1, left);
    const auto [i, j] = partition(a, left, right);
    a.swap(left, j);
    if (j <= k) left = i;
    if (j >= k) right = j - 1;
  }
  if (right == left + 1) order(left, right);
  return a.origin[k];
}

// Offset of the k-th smallest key (1-based) in x, which is dense. Which one of several equal elements it is
// matters to the gradient alone.
std::int64_t kth_smallest(Key key, const Tensor& x, std::int64_t k, bool needs_gradient) {
  const std::int64_t n = x.numel();
  const float* const values = x.data<float>();
  const Element found = nth_largest(key, values, n, n - k + 1);
  if (!needs_gradient || !is_tied(key, values, n, found.key)) return found.offset;
  const Tensor rows = x.contiguous();
  const float* const in_order = rows.data<float>();
  NIBBLE_CHECK(n <= std::numeric_limits<std::int32_t>::max(), "percentile: ", n,
               " elements, expected fewer than 2^31");
  Tensor memory =
      empty({2, n}, DType::int32);  // from the pool: fresh pages would cost more than the selection
  const std::span<std::int32_t> all = memory.mutable_values<std::int32_t>();
  Keys keys{all.first(static_cast<std::size_t>(n)), all.last(static_cast<std::size_t>(n))};
  for (std::size_t i = 0; i < keys.key.size(); ++i) keys.key[i] = key_of(key, in_order[i]);
  std::iota(keys.origin.begin(), keys.origin.end(), 0);
  std::int64_t index = select_index(keys, static_cast<std::size_t>(k - 1)), offset = 0;
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
