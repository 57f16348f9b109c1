#pragma once

#include "tensor/tensor.h"

namespace nibble {

// Along `dim`, shifted by the maximum so that large inputs do not overflow. float32 or float64. Throws
// std::invalid_argument for other dtypes and a dimension that x does not have.
Tensor softmax(const Tensor& x, int dim);
Tensor log_softmax(const Tensor& x, int dim);
// Given the result y: softmax  y * (g - sum(g*y));  log_softmax  g - exp(y) * sum(g).
Tensor softmax_backward(const Tensor& grad_out, const Tensor& y, int dim);
Tensor log_softmax_backward(const Tensor& grad_out, const Tensor& y, int dim);

}  // namespace nibble
