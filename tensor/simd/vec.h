#pragma once

// The vector type of kernel sources; the only file that names xsimd. Include it in files compiled by
// nibble_kernels() alone: NIBBLE_TIER is the tier, and the width follows from its compiler flags.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <xsimd/xsimd.hpp>

namespace nibble::NIBBLE_TIER {
namespace {

using VecF = xsimd::batch<float>;
using VecI = xsimd::batch<std::int32_t>;
inline constexpr std::size_t kLanes = VecF::size;

inline VecF load(const float* p) { return VecF::load_unaligned(p); }
inline void store(float* p, VecF v) { v.store_unaligned(p); }

// The first n < kLanes elements; the others are `fill`. Reads no byte beyond them.
inline VecF load_partial(const float* p, std::size_t n, float fill = 0.0f) {
  alignas(64) float buffer[kLanes];
  VecF(fill).store_aligned(buffer);
  std::memcpy(buffer, p, n * sizeof(float));
  return VecF::load_aligned(buffer);
}

inline void store_partial(float* p, VecF v, std::size_t n) {
  alignas(64) float buffer[kLanes];
  v.store_aligned(buffer);
  std::memcpy(p, buffer, n * sizeof(float));
}

// Not v != v: xsimd's comparison is an ordered one on some tiers, false for NaN.
inline xsimd::batch_bool<float> is_nan(VecF v) { return xsimd::isnan(v); }

inline VecI to_int(VecF v) { return xsimd::to_int(v); }  // truncates
inline VecF to_float(VecI v) { return xsimd::to_float(v); }

inline VecF fma(VecF a, VecF b, VecF c) { return xsimd::fma(a, b, c); }  // a * b + c

// Sum of the lanes, by halving: the same order for every call. (xsimd renamed hadd to reduce_add in 9.0.)
inline float reduce_add(VecF v) {
  alignas(64) float lane[kLanes];
  v.store_aligned(lane);
  for (std::size_t half = kLanes / 2; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) lane[i] += lane[i + half];
  return lane[0];
}

}  // namespace
}  // namespace nibble::NIBBLE_TIER
