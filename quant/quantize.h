#pragma once

#include "quant/kernels/quantize.h"
#include "tensor/tensor.h"

namespace nibble::quant {

// float32 of any shape to codes of one byte, contiguous, of the same shape: int8 where params.lo < 0, else
// uint8.
//   code = clamp(round(x / scale + zero_point), lo, hi)
// rounding half to even, as a quantized layer does in training; infinity saturates, NaN becomes lo. Throws
// std::invalid_argument for another dtype, a scale that is not a positive number, a zero point that is
// not finite, and codes beyond a byte.
Tensor quantize(const Tensor& x, const QuantizeParams& params);

// (code - zero_point) * scale as float32, contiguous, of int8 or uint8 codes. Throws for other dtypes and
// scales.
Tensor dequantize(const Tensor& codes, float scale, float zero_point);

}  // namespace nibble::quant
