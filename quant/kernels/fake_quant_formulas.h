#pragma once

// The formulas of fake_quant.h for one element (V = float, Mask = bool) or a vector of elements. Included by
// the kernels and by their reference in the tests.

#include <cmath>

#include "quant/kernels/fake_quant.h"
#include "tensor/simd/quotient.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

inline float select(bool condition, float yes, float no) { return condition ? yes : no; }

template <class V>
struct FakeQuantFormulas {
  V scale, zero_point, lo, hi, zero;
  bool clamp_passes, relu;

  explicit FakeQuantFormulas(const FakeQuantParams& p)
      : scale(p.scale),
        zero_point(p.zero_point),
        lo(p.lo),
        hi(p.hi),
        zero(0.0f),
        clamp_passes(p.clamp_passes),
        relu(p.relu) {}

  // Comparisons are false for NaN, which therefore stays.
  V rectified(V x) const { return relu ? select(x <= zero, zero, x) : x; }
  V clamped(V code) const { return select(code < lo, lo, select(code > hi, hi, code)); }

  struct Levels {
    V quotient, code, level;  // x / scale, rounded, clamped
  };
  Levels levels(V quotient) const {
    using std::nearbyint;  // half to even, the rounding mode of the processor
    const V code = nearbyint(quotient + zero_point);
    return {quotient, code, clamped(code)};
  }
  Levels levels_of(V x) const { return levels(nibble::NIBBLE_TIER::quotient(rectified(x), scale)); }
  V value(const Levels& q) const { return (q.level - zero_point) * scale; }
  V forward(V x) const { return value(levels_of(x)); }

  struct Gradients {
    V x, scale, outside;  // what the element adds to the sums; `outside` is grad_y where it was clamped
  };
  Gradients backward(V x, V grad_y) const { return backward(levels_of(x), x, grad_y); }
  Gradients backward(const Levels& q, V x, V grad_y) const {
    if (clamp_passes) return {grad_y, grad_y * (q.level - zero_point - q.quotient), zero};
    const auto inside = q.code == q.level;
    const V grad_x = select(inside, grad_y, zero);
    return {relu ? select(x > zero, grad_x, zero) : grad_x,
            grad_y * (q.level - zero_point - select(inside, q.quotient, zero)), select(inside, zero, grad_y)};
  }
};

}  // namespace
}  // namespace nibble::quant::NIBBLE_TIER
