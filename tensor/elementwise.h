#pragma once

#include "tensor/tensor.h"

namespace nibble {

// Elementwise operations. Both operands have one dtype (else std::invalid_argument) and broadcast by NumPy's
// rule. The result is dense and keeps the memory layout of the operands where they share one. float32 runs on
// the kernels of the active tier, every other dtype on the scalar reference; div, sqrt, exp, log, sigmoid and
// tanh take float32 and float64 only.

Tensor add(const Tensor& a, const Tensor& b);
Tensor sub(const Tensor& a, const Tensor& b);
Tensor mul(const Tensor& a, const Tensor& b);
Tensor div(const Tensor& a, const Tensor& b);
Tensor maximum(const Tensor& a, const Tensor& b);  // NaN if either is
Tensor minimum(const Tensor& a, const Tensor& b);

// 1 where it holds, else 0, in the dtype of the operands.
Tensor greater(const Tensor& a, const Tensor& b);
Tensor greater_equal(const Tensor& a, const Tensor& b);
Tensor equal(const Tensor& a, const Tensor& b);

Tensor neg(const Tensor& x);
Tensor abs(const Tensor& x);
Tensor sign(const Tensor& x);  // -1, 0 or 1; 0 for NaN
Tensor sqrt(const Tensor& x);
Tensor exp(const Tensor& x);
Tensor log(const Tensor& x);
Tensor relu(const Tensor& x);  // NaN passes through
Tensor sigmoid(const Tensor& x);
Tensor tanh(const Tensor& x);
Tensor round(const Tensor& x);  // half to even

// 0 where x <= 0, else grad (where x is NaN as well): the gradient at 0 (and -0) is 0, as PyTorch's.
Tensor relu_backward(const Tensor& grad, const Tensor& x);

// accumulator += x, in place; x broadcasts to the accumulator's shape, the accumulator is no broadcast view.
void add_in_place(Tensor& accumulator, const Tensor& x);

inline Tensor operator+(const Tensor& a, const Tensor& b) { return add(a, b); }
inline Tensor operator-(const Tensor& a, const Tensor& b) { return sub(a, b); }
inline Tensor operator*(const Tensor& a, const Tensor& b) { return mul(a, b); }
inline Tensor operator/(const Tensor& a, const Tensor& b) { return div(a, b); }
inline Tensor operator-(const Tensor& x) { return neg(x); }

// With a number, converted to the tensor's dtype.
Tensor operator+(const Tensor& a, double b);
Tensor operator-(const Tensor& a, double b);
Tensor operator*(const Tensor& a, double b);
Tensor operator/(const Tensor& a, double b);

}  // namespace nibble
