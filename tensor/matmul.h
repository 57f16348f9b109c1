#pragma once

#include "tensor/tensor.h"

namespace nibble {

// Matrix product with NumPy's rules for rank >= 2: [..., m, k] x [..., k, n] -> [..., m, n], contiguous;
// leading dimensions broadcast. Any strides (a transpose() costs nothing). float32 or float64; throws when
// ranks, inner sizes, batch sizes or dtypes do not fit.
Tensor matmul(const Tensor& a, const Tensor& b);

// x [..., in] times weight [out, in] transposed, plus bias [out] unless undefined. A rank 2 result has its
// batch innermost where x has.
Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

// Gradients of linear: grad_out [..., out] times weight, with the batch innermost where grad_out has it, and
// grad_out transposed times x, summed over all leading dimensions.
Tensor linear_backward_input(const Tensor& grad_out, const Tensor& weight);
Tensor linear_backward_weight(const Tensor& grad_out, const Tensor& x);

}  // namespace nibble
