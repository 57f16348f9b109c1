#pragma once

#include "tensor/tensor.h"

namespace nibble {

// Matrix product with NumPy's rules for rank >= 2: [..., m, k] x [..., k, n] -> [..., m, n]; leading
// dimensions broadcast. Any strides (a transpose() costs nothing). float32 or float64; throws when ranks,
// inner sizes, batch sizes or dtypes do not fit.
Tensor matmul(const Tensor& a, const Tensor& b);

// x [..., in] times weight [out, in] transposed, plus bias [out] unless undefined.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

}  // namespace nibble
