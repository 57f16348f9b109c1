#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/simd/dispatch.h"

namespace nibble::quant {

// Direct convolution, for layers so small that a matrix product would spend its time on building the matrix.
// Lanes are neighbouring positions of an image. Activations lie in words of four bytes: four channels of a
// pixel, or four neighbouring pixels of a channel. A term is one such word of a window and four weights:
//
//   acc[k][x] = init[k] + sum over terms t of dot4(input[offset[t] + x], weight[t][k])     k < 4, x <
//   positions
//
// Where rows follow each other in the input as in the result, x runs on from one row to the next, over the
// padding between them; what comes out there means nothing.
struct DirectConvTile {
  const std::uint32_t* input;   // up to `lanes` - 1 words behind the last position are read too
  const std::int32_t* offset;   // [terms]
  const std::uint32_t* weight;  // [terms][4], int8 four times
  std::size_t terms, positions;
  const std::int32_t* init;  // [4]
  std::int32_t* acc;         // [4] rows, acc_stride apart; whole vectors are written
  std::size_t acc_stride;
  // How many words of products may be added in int16, in pairs, without leaving it: proved from the widths
  // of weights and codes (conv_step.cpp). 0: exact instructions only.
  std::size_t pairs_depth;
};

struct DirectConvKernels {
  std::size_t lanes;
  bool signed_activations;  // bytes of activations are int8, else uint8
  void (*run)(const DirectConvTile& tile) noexcept;
};

NIBBLE_DECLARE_INTEGER_KERNELS(DirectConvKernels, direct_conv_kernels)

}  // namespace nibble::quant
