#pragma once

#include <cstddef>

#include "tensor/simd/dispatch.h"

namespace nibble {

// What the hardware can do at best, for comparison with what the other kernels reach.
struct ProbeKernels {
  // `rounds` times a group of independent multiply-adds of whole vectors, enough to hide their latency; each
  // counts 2 floating-point operations per lane. The result only keeps the compiler from skipping them.
  std::size_t flops_per_round;
  float (*multiply_add)(std::size_t rounds) noexcept;

  // Reads n elements, adding them in independent vectors.
  float (*read)(const float* x, std::size_t n) noexcept;
};

NIBBLE_DECLARE_KERNELS(ProbeKernels, probe_kernels)

}  // namespace nibble
