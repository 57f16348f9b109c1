#include "quant/quickselect.h"

#include <algorithm>

namespace nibble::quant {
namespace {

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

}  // namespace

std::int32_t quickselect(Keys a, std::size_t k) {
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

}  // namespace nibble::quant
