#pragma once

#include "autograd/variable.h"
#include "quant/quantizer.h"

namespace nibble::quant {

// The quantized form of a bias [K]: scale = input_scale * weight_scale of the same forward pass (one, or one
// per channel), code = clamp(round(bias / scale), -2^(b-1), 2^(b-1) - 1) in float32, a real clamp. Neither
// scale is detached: rounding a bias sends gradients to both.
Variable quantize_bias(const Variable& bias, const Variable& input_scale, const Variable& weight_scale,
                       const BiasQuantizer& quantizer);

}  // namespace nibble::quant
