#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/simd/dispatch.h"

namespace nibble::quant {

struct QuantizeParams {
  float scale, zero_point;
  float lo, hi;  // whole numbers, -128 <= lo <= hi <= 255
};

// float32 to and from codes of one byte: two's complement where there are negative ones.
struct QuantizeKernels {
  // codes = clamp(round(x / scale + zero_point), lo, hi): the code of FakeQuantFormulas, bit by bit, so that
  // what was trained is what runs. Half to even; infinity saturates; NaN becomes lo.
  void (*quantize)(const float* x, std::uint8_t* codes, std::size_t n, const QuantizeParams& params) noexcept;
  // x = (code - zero_point) * scale. Codes are int8 if `is_signed`, else uint8.
  void (*dequantize)(const std::uint8_t* codes, float* x, std::size_t n, float scale, float zero_point,
                     bool is_signed) noexcept;
};

NIBBLE_DECLARE_INTEGER_KERNELS(QuantizeKernels, quantize_kernels)

}  // namespace nibble::quant
