#pragma once

#include "autograd/variable.h"
#include "quant/quantizer.h"

namespace nibble::quant {

// The quantized form of a weight [K, ...], annotated with its QuantParams. Nothing is stored: the scale is
// computed from the weight at every call, with n = 2^(b-1) - 1 and m = max(max|w|, 1e-10) over the tensor or
// each output channel:
//   Float       scale = m / n
//   FixedPoint  scale = 2^ceil(log2 m) / 2^(b-1)
//   code = clamp(round(w / scale), -n, n), straight-through; the scale's gradient goes to the largest weight.
// Ternary: scale = scaling_const, codes -1, 0, 1. Binary: the stored weight is clamped in place to [-scale,
// scale], then value = scale if w >= 0 else -scale, and the gradient is multiplied by the scale (codes -1,
// 1).
Variable quantize_weight(Variable weight, const WeightQuantizer& quantizer);

}  // namespace nibble::quant
