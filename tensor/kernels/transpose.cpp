#include "tensor/kernels/transpose.h"

#include "tensor/simd/transpose.h"

namespace nibble::NIBBLE_TIER {

extern const TransposeKernels transpose_kernels = {.transpose = transpose};

}  // namespace nibble::NIBBLE_TIER
