#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/simd/dispatch.h"

// What becomes of the sums of an integer product. All tiers give the same bits.

namespace nibble::quant {

// rows x cols sums acc[i, j] + add[j]; those of int32 are none beyond +-(2^31 - 1), which callers prove.
template <class T>
struct SumTileOf {
  const T* acc;
  std::size_t stride;  // elements from row to row
  std::size_t rows, cols;
  const T* add;  // [cols], or nullptr: nothing
};
using SumTile = SumTileOf<std::int32_t>;
using FloatSumTile = SumTileOf<float>;

struct FloatEpilogue {
  const float* scale;  // [cols]
  const float* bias;   // [cols], or nullptr: none
  bool relu;
};

struct CodeEpilogue {
  const std::int32_t* multiplier;  // [cols], 0 to 2^31 - 1
  const std::int32_t* shift;       // [cols], 0 to 62
  std::int32_t zero_point;         // of the codes
  std::int32_t lo, hi;             // -128 <= lo <= hi <= 255
};

// Strides of `out` are in its elements. `out` may be `acc` itself where element sizes agree and strides too.
struct RequantizeKernels {
  // out = sum
  void (*add)(const SumTile& sums, std::int32_t* out, std::ptrdiff_t out_stride) noexcept;
  // out = float(sum) * scale[j] + bias[j], each step rounded; with relu 0 where that is <= 0
  void (*to_float)(const SumTile& sums, const FloatEpilogue& epilogue, float* out,
                   std::ptrdiff_t out_stride) noexcept;
  void (*floats_to_float)(const FloatSumTile& sums, const FloatEpilogue& epilogue, float* out,
                          std::ptrdiff_t out_stride) noexcept;
  // out = clamp(round(sum * multiplier[j] / 2^shift[j]) + zero_point, lo, hi), half to even, in two's
  // complement: requantize_formula.h
  void (*to_codes)(const SumTile& sums, const CodeEpilogue& epilogue, std::uint8_t* out,
                   std::ptrdiff_t out_stride) noexcept;
};

NIBBLE_DECLARE_INTEGER_KERNELS(RequantizeKernels, requantize_kernels)

}  // namespace nibble::quant
