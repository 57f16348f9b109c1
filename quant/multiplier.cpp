#include "quant/multiplier.h"

#include <cmath>

#include "tensor/check.h"

namespace nibble::quant {

Multiplier make_multiplier(double scale) {
  NIBBLE_CHECK(std::isfinite(scale) && scale > 0, "make_multiplier: scale ", scale,
               ", expected a finite number above 0");
  int exponent = 0;
  const double fraction = std::frexp(scale, &exponent);  // in [0.5, 1)
  double multiplier = std::nearbyint(std::ldexp(fraction, 31));
  if (multiplier == 0x1p31) {
    multiplier = 0x1p30;
    ++exponent;
  }
  const int shift = 31 - exponent;
  NIBBLE_CHECK(shift >= 0 && shift <= 62, "make_multiplier: scale ", scale, " needs a shift of ", shift,
               ", expected 0 to 62: scales from 2^-32 to below 2^31");
  return {static_cast<std::int32_t>(multiplier), shift};
}

}  // namespace nibble::quant
