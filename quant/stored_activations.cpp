#include "quant/stored_activations.h"

#include "tensor/check.h"

namespace nibble::quant {

StoredActivations::StoredActivations(const ActFormat& f, bool signed_bytes) : zero_point(f.zero_point) {
  if (f.is_binary) zero_point = 1;
  if (f.bit_width < 8 || f.is_signed == signed_bytes) return;
  flip = 0x80;
  zero_point += f.is_signed ? 128 : -128;
}

void check_activations(const ActFormat& f, const PackOptions& weights) {
  NIBBLE_CHECK(f.bit_width == 1 || f.bit_width == 2 || f.bit_width == 4 || f.bit_width == 8,
               "qgemm: activations of ", f.bit_width, " bits, expected 1, 2, 4 or 8");
  NIBBLE_CHECK(f.bit_width <= weights.act_bits, "qgemm: activations of ", f.bit_width,
               " bits, the weights were packed for at most ", weights.act_bits);
  NIBBLE_CHECK(!f.is_binary || f.bit_width == 1, "qgemm: binary activations of ", f.bit_width, " bits");
  const std::int32_t lowest = f.is_signed ? -(1 << (f.bit_width - 1)) : 0,
                     highest = lowest + (1 << f.bit_width) - 1;
  NIBBLE_CHECK(f.zero_point >= lowest && f.zero_point <= highest, "qgemm: zero point of activations is ",
               f.zero_point, ", expected ", lowest, " to ", highest);
  NIBBLE_CHECK(!f.is_signed || f.bit_width == 8, "qgemm: signed activations of ", f.bit_width,
               " bits, expected 8 (or unsigned with a zero point)");
}

}  // namespace nibble::quant
