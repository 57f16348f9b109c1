#pragma once

// The formulas of fake_quant.h for one element or vector of elements.

#include <cmath>

#include "quant/kernels/fake_quant.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

inline float select(bool condition, float yes, float no) { return condition ? yes : no; }

template <class V>
struct FakeQuantElement {
  V code, clamped, quotient;

  FakeQuantElement(V x, V scale, V zero_point, V lo, V hi) : code(0.0f), clamped(0.0f), quotient(x / scale) {
    using std::nearbyint;  // half to even, the rounding mode of the processor
    code = nearbyint(quotient + zero_point);
    // Comparisons are false for NaN, which therefore stays.
    clamped = select(code < lo, lo, select(code > hi, hi, code));
  }
};

}  // namespace
}  // namespace nibble::quant::NIBBLE_TIER
