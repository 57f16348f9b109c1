#pragma once

#include "autograd/variable.h"

namespace nibble::quant {

// Order statistics of all elements of a float32 Variable, rank 0. The chosen element receives the gradient.
// NaN counts as larger than every number, as in PyTorch's kthvalue.

// k-th smallest |x|, 1-based, k = floor(0.01 * q * N + 0.5) (Brevitas' AbsPercentile); its gradient carries
// sign(x). With `relu`: of max(x, 0).
Variable abs_percentile(const Variable& x, double q, bool relu = false);
// k-th smallest x (of max(x, 0) with `relu`), same k.
Variable high_percentile(const Variable& x, double q, bool relu = false);
// min(0, k-th smallest x), k = ceil(0.01 * q * N) (Brevitas' NegativePercentileOrZero); no gradient above 0.
Variable low_percentile_or_zero(const Variable& x, double q);

}  // namespace nibble::quant
