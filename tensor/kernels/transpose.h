#pragma once

#include <cstddef>

#include "tensor/simd/dispatch.h"

namespace nibble {

struct TransposeKernels {
  // out[p * out_step + i] = x[i * x_step + p] for i < n and p < k.
  void (*transpose)(const float* x, std::size_t x_step, std::size_t n, std::size_t k, float* out,
                    std::size_t out_step) noexcept;
};

NIBBLE_DECLARE_KERNELS(TransposeKernels, transpose_kernels)

}  // namespace nibble
