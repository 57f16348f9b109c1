#pragma once

#if defined(__aarch64__)
#include <arm_neon.h>

#include <type_traits>
#endif

namespace nibble::NIBBLE_TIER {
namespace {

// x / y, rounded once, of numbers or vectors of float: xsimd 8.1 multiplies by an approximate reciprocal on
// NEON.
template <class V>
V quotient(V x, V y) {
#if defined(__aarch64__)
  if constexpr (!std::is_arithmetic_v<V>) return V(vdivq_f32(x, y));
#endif
  return static_cast<V>(x / y);
}

}  // namespace
}  // namespace nibble::NIBBLE_TIER
