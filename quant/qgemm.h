#pragma once

#include <cstdint>
#include <variant>

#include "quant/packed_matrix.h"

namespace nibble::quant {

// How the integers of an activation are to be read: value = (code - zero_point) * scale.
struct ActFormat {
  int bit_width = 8;       // 8: a byte a code; 4, 2, 1: packed, code i in bits i * b and up, little-endian
  bool is_signed = false;  // two's complement; of 8 bits only
  bool is_binary = false;  // 1 bit: 0 stands for -1, 1 for 1; no zero point
  std::int32_t zero_point = 0;
  float scale = 1;
};

// Codes [m, k], rows `row_stride` bytes apart. For activations of fewer than 8 bits that come as bytes, say
// bit_width 8.
struct ActMatrix {
  const std::uint8_t* data;
  std::int64_t m, k, row_stride;
  ActFormat format;
};

// What becomes of the sums acc[i, j] = sum over p of (a[i, p] - zero_point) * (w[j, p] - zero_point). Rows of
// results are `stride` elements (ToCodes: bytes) apart.

struct ToInt32 {  // acc + bias
  std::int32_t* data;
  std::int64_t stride;
  const std::int32_t* bias = nullptr;  // [n]
};

struct ToFloat {  // acc * (scale of a * scale of w) + bias, then max(0, .) with relu; float32, nothing fused
  float* data;
  std::int64_t stride;
  const float* bias = nullptr;  // [n]
  bool relu = false;
};

struct ToCodes {  // clamp(round((acc + bias) * multiplier / 2^shift) + zero_point, lo, hi); see requantize.h
  std::uint8_t* data;
  std::int64_t stride;
  int bit_width = 8;  // 8, 4, 2 or 1, packed as in ActFormat
  const std::int32_t* multiplier;  // [n]
  const std::int32_t* shift;       // [n]
  std::int32_t zero_point = 0, lo = 0, hi = 255;
  const std::int32_t* bias = nullptr;  // [n]
};

using QGemmOutput = std::variant<ToInt32, ToFloat, ToCodes>;

// The integer matrix product a w^T -> [m, n] with its epilogue, on the tier that w is packed for. Integer results are
// exact and the same on every tier and for any number of threads. With scales per group only ToFloat is possible.
// Throws std::invalid_argument where a and w do not fit together, where activations are wider than w was packed
// for, and where bias could take a sum out of int32.
void qgemm(const ActMatrix& a, const PackedMatrix& w, const QGemmOutput& out);

}  // namespace nibble::quant
