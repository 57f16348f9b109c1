#pragma once

#include <cstdint>

namespace nibble::quant {

// A positive real number as multiplier / 2^shift, the form in which requantization knows it
// (quant/kernels/requantize_formula.h).
struct Multiplier {
  std::int32_t multiplier;  // 2^30 <= multiplier < 2^31
  std::int32_t shift;       // 0 to 62
};

// The nearest such number, half to even: off by 2^-31 of it at most, exact for powers of two. Throws
// std::invalid_argument naming `scale` unless it is finite, above 0 and, rounded, from 2^-32 to below 2^31.
Multiplier make_multiplier(double scale);

}  // namespace nibble::quant
