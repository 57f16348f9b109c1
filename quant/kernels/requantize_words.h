#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/simd/dispatch.h"

namespace nibble::quant {

// Sums of four channels, as direct_conv.h leaves them, become the words that the next layer reads.
struct WordTile {
  const std::int32_t* acc;  // channel k, row y, position x at acc[k * channel_stride + y * pitch + x]; up to
                            // 32 beyond the last position are read too
  std::size_t channel_stride, pitch;
  std::size_t rows, columns;       // of the result
  bool pool;                       // of windows of 2 x 2, stride 2: the largest sum has the largest code
  const std::int32_t* multiplier;  // [4], 0 to 2^31 - 1
  const std::int32_t* shift;       // [4], 0 to 62
  // [4] multiplier / 2^shift, where |sum| * multiplier < 2^53 and |sum * multiplier / 2^shift| < 2^31 - 512
  // for every sum that can come up: the product is exact in double, and adding a number as large as 2^52
  // rounds it half to even. Else nullptr: products of 64 bits.
  const double* scale;
  std::int32_t zero_point, lo, hi;  // of the bytes that are stored: uint8 or int8 as the next layer wants
  std::uint32_t* out;
  std::size_t out_pitch;
};

// out[y][x] = bytes of clamp(round(sum * multiplier[k] / 2^shift[k]) + zero_point, lo, hi), channel 0 lowest;
// requantize_formula.h. Nothing beyond `columns` is written.
struct RequantizeWordsKernels {
  void (*run)(const WordTile& tile) noexcept;
};

NIBBLE_DECLARE_INTEGER_KERNELS(RequantizeWordsKernels, requantize_words_kernels)

}  // namespace nibble::quant
