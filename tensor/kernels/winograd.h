#pragma once

#include <array>
#include <cstddef>

#include "tensor/kernels/conv.h"
#include "tensor/simd/dispatch.h"

namespace nibble {

// Gradients of convolutions whose windows are three neighbouring taps wide and move by one column, by
// Winograd's minimal filtering (Arithmetic Complexity of Computations, 1980; Lavin and Gray, Fast Algorithms
// for Convolutional Neural Networks, 2015, section 4.1): four products instead of six.
//
// F(2, 3), for the input gradient: two neighbouring results d0 g0 + d1 g1 + d2 g2 and d1 g0 + d2 g1 + d3 g2
// are m0 + m1 + m2 and m1 - m2 - m3, where
//   m0 = (d0 - d2) g0    m1 = (d1 + d2) (g0 + g1 + g2) / 2    m2 = (d2 - d1) (g0 - g1 + g2) / 2
//   m3 = (d1 - d3) g2
// F(3, 2), for the weight gradient: d0 g0 + d1 g1, d1 g0 + d2 g1 and d2 g0 + d3 g1, each summed over all
// pairs g0, g1 of neighbouring columns, are m0 + m1 + m2, m1 - m2 and m1 + m2 - m3, where
//   m0 = (d0 - d2) g0    m1 = (d1 + d2) (g0 + g1) / 2         m2 = (d2 - d1) (g0 - g1) / 2
//   m3 = (d1 - d3) g1
//
// It rounds other sums than the direct order does. So it serves gradients alone: forward, sums of quantized
// values have to be those of the integer engine, which the direct order keeps exact.
//
// Both kernels are null where they bring nothing: four sums for each channel and the operands beside them
// want 32 vector registers, and only AVX-512 was measured.
struct WinogradKernels {
  // ConvKernels::forward without bias, for weights packed [r][c][k] as winograd_weight() makes them.
  void (*convolve)(const DirectConv& conv, const float* x, const float* packed_weight, float* y,
                   std::ptrdiff_t row) noexcept;
  // ConvKernels::backward_weight with sums of m0, 2 m1, 2 m2 and m3 in the order [r][c][k][4].
  void (*backward_weight)(const DirectConv& conv, const float* x, const float* grad_y, float* sums,
                          std::ptrdiff_t row_begin, std::ptrdiff_t row_end) noexcept;
};

NIBBLE_DECLARE_KERNELS(WinogradKernels, winograd_kernels)

// What convolve() multiplies with for a row of three taps.
inline std::array<float, 4> winograd_weight(float g0, float g1, float g2) {
  return {g0, 0.5f * (g0 + g2 + g1), 0.5f * (g0 + g2 - g1), g2};
}

// Tap s of three from the sums m0, 2 m1, 2 m2 and m3 of backward_weight().
inline float winograd_tap(const std::array<float, 4>& m, std::ptrdiff_t s) {
  if (s == 1) return 0.5f * (m[1] - m[2]);
  const float middle = 0.5f * (m[1] + m[2]);
  return s == 0 ? m[0] + middle : middle - m[3];
}

}  // namespace nibble
