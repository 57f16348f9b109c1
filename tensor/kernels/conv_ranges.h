// Which taps and outputs of a convolution lie inside. For kernel sources only: compiled once per tier.
#pragma once

#include <cstddef>

namespace nibble::NIBBLE_TIER {
namespace {

using Index = std::ptrdiff_t;

struct Range {
  Index begin, end;
};

inline Index smaller(Index a, Index b) { return a < b ? a : b; }
inline Index larger(Index a, Index b) { return a > b ? a : b; }
// A stride of 1, which is common, needs no division, which is slow.
inline Index divide_up(Index a, Index b) { return b == 1 ? a : a <= 0 ? -(-a / b) : (a + b - 1) / b; }

inline Range intersection(Range a, Range b) {
  const Index begin = larger(a.begin, b.begin);
  return {begin, larger(begin, smaller(a.end, b.end))};
}

// Taps t in [0, taps) whose input position start + t * dilation lies in [0, size).
inline Range valid_taps(Index start, Index dilation, Index taps, Index size) {
  const Index begin = larger(0, divide_up(-start, dilation));
  const Index end = smaller(taps, divide_up(size - start, dilation));
  return {smaller(begin, taps), larger(end, smaller(begin, taps))};
}

// Outputs o in [0, outputs) for which o * stride + offset lies in [0, size).
inline Range valid_outputs(Index offset, Index stride, Index outputs, Index size) {
  const Index begin = smaller(outputs, larger(0, divide_up(-offset, stride)));
  const Index end = smaller(outputs, larger(begin, divide_up(size - offset, stride)));
  return {begin, larger(begin, end)};
}

}  // namespace
}  // namespace nibble::NIBBLE_TIER
