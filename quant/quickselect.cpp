#include "quant/quickselect.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>
#include <vector>

#include "quant/kernels/partition.h"
#include "tensor/factory.h"

namespace nibble::quant {
namespace {

// Below, masks cost more than they bring.
constexpr std::int64_t kFew = 256;

constexpr std::int64_t round_up(std::int64_t n, std::int64_t unit) { return (n + unit - 1) / unit * unit; }

// The transpositions that move the median of three to the left end, in order.
using Transpositions = std::array<std::pair<std::int64_t, std::int64_t>, 4>;

Transpositions move_median(std::span<std::int32_t> key, std::int64_t left, std::int64_t right) {
  Transpositions done{
      {{left + (right - left) / 2, left + 1}, {left + 1, right}, {left, right}, {left + 1, left}}};
  for (auto& [a, b] : done) {
    auto &x = key[static_cast<std::size_t>(a)], &y = key[static_cast<std::size_t>(b)];
    if (&done.front().first == &a || x > y)
      std::swap(x, y);
    else
      a = b;  // nothing moved
  }
  return done;
}

struct Step {
  Transpositions median;
  Partition partition;
};

// Quickselect of a few keys, key by key: the index of the one that comes to k.
std::int64_t select_few(std::span<std::int32_t> key, std::span<std::int32_t> index, std::int64_t k) {
  std::iota(index.begin(), index.end(), 0);
  const auto at = [](auto span, std::int64_t i) -> std::int32_t& {
    return span[static_cast<std::size_t>(i)];
  };
  const auto swap = [&](std::int64_t i, std::int64_t j) {
    std::swap(at(key, i), at(key, j));
    std::swap(at(index, i), at(index, j));
  };
  std::int64_t left = 0, right = static_cast<std::int64_t>(key.size()) - 1;
  while (right > left + 1) {
    for (const auto& [a, b] : move_median(key, left, right)) std::swap(at(index, a), at(index, b));
    const std::int32_t pivot = at(key, left);
    std::int64_t i = left + 1, j = right;
    for (;;) {
      do ++i;
      while (at(key, i) < pivot);
      do --j;
      while (at(key, j) > pivot);
      if (j < i) break;
      swap(i, j);
    }
    swap(left, j);
    if (j <= k) left = i;
    if (j >= k) right = j - 1;
  }
  if (right == left + 1 && at(key, left) > at(key, right)) swap(left, right);
  return at(index, k);
}

}  // namespace

Quickselect::Quickselect(std::int64_t n)
    : n_(n),
      keys_(empty({round_up(n, 64)}, DType::int32)),
      buffer_(empty({n + 16}, DType::int32)),
      // Two masks of n keys take n / 32 words, and with good pivots all steps twice that.
      masks_(empty({round_up(n, 64) / 8}, DType::int64)) {
  const std::span<std::int32_t> whole_words = keys_.mutable_values<std::int32_t>();
  std::fill(whole_words.begin() + n, whole_words.end(), 0);
}

std::span<std::int32_t> Quickselect::keys() {
  return keys_.mutable_values<std::int32_t>().first(static_cast<std::size_t>(n_));
}

std::int64_t Quickselect::index_of_smallest(std::int64_t k) {
  const std::span<std::int32_t> key = keys(), buffer = buffer_.mutable_values<std::int32_t>();
  auto* mask = reinterpret_cast<std::uint64_t*>(masks_.mutable_values<std::int64_t>().data());
  std::int64_t masks_left = masks_.numel();

  std::vector<Step> steps;
  std::int64_t left = 0, right = n_ - 1;
  // Scans that end two apart leave a key equal to the pivot between them, in its place for good.
  const auto is_open = [&] { return left <= k && k <= right; };
  while (is_open() && right - left > kFew) {
    Partition p{.left = left, .right = right, .from_left = mask, .from_right = nullptr, .i = 0, .j = 0};
    // Keys that make every pivot a bad one are left to the loop below, which takes as long as it takes.
    if (2 * p.words() > masks_left) break;
    p.from_right = mask + p.words();
    mask += 2 * p.words();
    masks_left -= 2 * p.words();
    const Transpositions median = move_median(key, left, right);
    partition_kernels().partition(key.data(), p, k, buffer.data());
    steps.push_back({median, p});
    if (p.j <= k) left = p.i;
    if (p.j >= k) right = p.j - 1;
  }

  std::int64_t place = k;
  if (is_open()) {
    const auto first = static_cast<std::size_t>(left), n = static_cast<std::size_t>(right - left + 1);
    place = left + select_few(key.subspan(first, n), buffer.first(n), k - left);
  }
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    place = partition_kernels().source(step->partition, place);
    for (auto t = step->median.rbegin(); t != step->median.rend(); ++t)
      place = place == t->first ? t->second : place == t->second ? t->first : place;
  }
  return place;
}

}  // namespace nibble::quant
