#pragma once

#include "tensor/pool.h"

namespace nibble::quant {

// Max pooling of codes, uint8 or int8; the same numbers as max_pool2d of what they stand for.
//   codes [N, C, H, W] -> [N, C, OH, OW] of the same dtype, channels innermost in memory (NHWC)
// Codes that lie in memory like the result are read in place, others are copied first. Sizes and checks as
// max_pool2d. Padding never wins; a window of nothing but padding, which a dilated one can be, gives the
// least code of the dtype, as max_pool2d gives minus infinity. Throws std::invalid_argument for other dtypes,
// sizes that do not fit, and `relu`, which depends on a zero point.
Tensor qmax_pool2d(const Tensor& codes, Size2 kernel, const PoolOptions& options = {});

}  // namespace nibble::quant
