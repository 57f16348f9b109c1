#pragma once

#include <cstdint>

namespace nibble::quant {

// Integers of a quantizer, both ends included.
struct IntegerRange {
  double lo, hi;
};

//   signed          [-2^(b-1), 2^(b-1) - 1]
//   signed, narrow  [-(2^(b-1) - 1), 2^(b-1) - 1]: symmetric, -2^(b-1) is never used
//   unsigned        [0, 2^b - 1]
inline IntegerRange integer_range(int bit_width, bool is_signed, bool narrow_range) {
  if (!is_signed) return {0, static_cast<double>((std::int64_t{1} << bit_width) - 1)};
  const auto half = static_cast<double>(std::int64_t{1} << (bit_width - 1));
  return {narrow_range ? 1 - half : -half, half - 1};
}

// Brevitas' scaling_min_val: no statistic is taken to be smaller.
inline constexpr float kScalingMin = 1e-10f;

}  // namespace nibble::quant
