#include "quant/statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/node.h"
#include "tensor/factory.h"
#include "tensor/layout.h"
#include "tensor/parallel.h"

namespace nibble::quant {
namespace {

struct Element {
  float key;
  std::int64_t offset;  // in memory order of the dense tensor
};

// Largest key first; of equal keys the one that comes first in memory.
bool precedes(const Element& a, const Element& b) {
  return a.key != b.key ? a.key > b.key : a.offset < b.offset;
}

// The `rank`-th largest key (1-based) of n elements. Percentiles near 100 ask for a handful of the largest,
// so each fixed-size chunk keeps its own few and no sort is needed.
template <class Key>
Element nth_largest(const float* x, std::int64_t n, std::int64_t rank, Key key) {
  constexpr std::int64_t kFew = 64, kChunk = 1 << 15;
  std::vector<Element> candidates;
  if (rank > kFew) {
    candidates.reserve(static_cast<std::size_t>(n));
    for (std::int64_t i = 0; i < n; ++i)
      if (const float value = key(x[i]); !std::isnan(value)) candidates.push_back({value, i});
  } else {
    const std::int64_t chunks = (n + kChunk - 1) / kChunk;
    std::vector<std::vector<Element>> best(static_cast<std::size_t>(chunks));
    parallel_for(chunks, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t chunk = begin; chunk < end; ++chunk) {
        std::vector<Element>& kept = best[static_cast<std::size_t>(chunk)];  // sorted, at most `rank`
        float least = -INFINITY;
        const std::int64_t last = std::min(n, (chunk + 1) * kChunk);
        for (std::int64_t i = chunk * kChunk; i < last; ++i) {
          const float value = key(x[i]);
          if (!(value > least) && (std::isnan(value) || static_cast<std::int64_t>(kept.size()) == rank))
            continue;
          const Element element{value, i};
          kept.insert(std::upper_bound(kept.begin(), kept.end(), element, precedes), element);
          if (static_cast<std::int64_t>(kept.size()) > rank) kept.pop_back();
          if (static_cast<std::int64_t>(kept.size()) == rank) least = kept.back().key;
        }
      }
    });
    for (const auto& kept : best) candidates.insert(candidates.end(), kept.begin(), kept.end());
  }
  if (static_cast<std::int64_t>(candidates.size()) < rank) return {NAN, 0};  // NaN is neither large nor small
  const auto nth = candidates.begin() + (rank - 1);
  std::nth_element(candidates.begin(), nth, candidates.end(), precedes);
  return *nth;
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
    const float pivot = at(left).key;
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

// The k-th smallest key (1-based) of the elements of x, which is dense.
template <class Key>
Element kth_smallest(const Tensor& x, std::int64_t k, Key key) {
  const std::int64_t n = x.numel();
  const float* const values = x.data<float>();
  Element found;
  if (k > n / 2) {
    found = nth_largest(values, n, n - k + 1, key);
  } else {
    found = nth_largest(values, n, k, [key](float v) { return -key(v); });
    found.key = -found.key;
  }
  const auto ties = std::count_if(values, values + n, [&](float v) { return key(v) == found.key; });
  if (ties <= 1) return found;
  const Tensor rows = x.contiguous();
  std::vector<Element> elements;
  elements.reserve(static_cast<std::size_t>(n));
  for (std::int64_t i = 0; i < n; ++i) elements.push_back({key(rows.data<float>()[i]), i});
  std::int64_t index = select_index(elements, k - 1);
  found.offset = 0;
  for (int d = x.rank() - 1; d >= 0; --d) {
    found.offset += index % x.size(d) * x.strides()[d];
    index /= x.size(d);
  }
  return found;
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

Tensor dense_values(const char* name, const Variable& x, double q) {
  NIBBLE_CHECK(x.dtype() == DType::float32, name, ": dtype ", x.dtype(), ", expected float32");
  NIBBLE_CHECK(x.value().numel() > 0, name, ": input of shape ", x.shape(), " has no elements");
  NIBBLE_CHECK(q >= 0 && q <= 100, name, ": percentile ", q, ", expected 0 to 100");
  return with_strides(x.value(), dense_strides_like(x.value()));
}

std::int64_t clamp_rank(double k, std::int64_t n) {
  return std::clamp<std::int64_t>(static_cast<std::int64_t>(k), 1, n);
}

}  // namespace

Variable abs_percentile(const Variable& x, double q) {
  const Tensor dense = dense_values("abs_percentile", x, q);
  const std::int64_t n = dense.numel(),
                     k = clamp_rank(std::floor(0.01 * q * static_cast<double>(n) + 0.5), n);
  const float* const values = dense.data<float>();
  const Element found = kth_smallest(dense, k, [](float v) { return std::fabs(v); });
  const float at = values[found.offset];
  return pick("abs_percentile", x, dense, found.offset, found.key, at > 0 ? 1.0f : at < 0 ? -1.0f : 0.0f);
}

Variable high_percentile(const Variable& x, double q) {
  const Tensor dense = dense_values("high_percentile", x, q);
  const std::int64_t n = dense.numel(),
                     k = clamp_rank(std::floor(0.01 * q * static_cast<double>(n) + 0.5), n);
  const Element found = kth_smallest(dense, k, [](float v) { return v; });
  return pick("high_percentile", x, dense, found.offset, found.key, 1);
}

Variable low_percentile_or_zero(const Variable& x, double q) {
  const Tensor dense = dense_values("low_percentile_or_zero", x, q);
  const std::int64_t n = dense.numel(), k = clamp_rank(std::ceil(0.01 * q * static_cast<double>(n)), n);
  const Element found = kth_smallest(dense, k, [](float v) { return v; });
  const float value = found.key;
  return pick("low_percentile_or_zero", x, dense, found.offset, std::min(value, 0.0f), value <= 0 ? 1 : 0);
}

}  // namespace nibble::quant
