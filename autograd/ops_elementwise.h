#pragma once

#include "autograd/variable.h"

namespace nibble {

// Differentiable forms of tensor/elementwise.h; gradients are summed to the operand's shape.
Variable add(const Variable& a, const Variable& b);
Variable sub(const Variable& a, const Variable& b);
Variable mul(const Variable& a, const Variable& b);
Variable div(const Variable& a, const Variable& b);

Variable neg(const Variable& x);
Variable abs(const Variable& x);  // gradient at 0 is 0
Variable sqrt(const Variable& x);
Variable exp(const Variable& x);
Variable log(const Variable& x);
Variable relu(const Variable& x);  // gradient at 0 is 0
Variable sigmoid(const Variable& x);
Variable tanh(const Variable& x);

inline Variable operator+(const Variable& a, const Variable& b) { return add(a, b); }
inline Variable operator-(const Variable& a, const Variable& b) { return sub(a, b); }
inline Variable operator*(const Variable& a, const Variable& b) { return mul(a, b); }
inline Variable operator/(const Variable& a, const Variable& b) { return div(a, b); }
inline Variable operator-(const Variable& x) { return neg(x); }

// With a number, converted to the Variable's dtype.
Variable operator+(const Variable& a, double b);
Variable operator-(const Variable& a, double b);
Variable operator*(const Variable& a, double b);
Variable operator/(const Variable& a, double b);

}  // namespace nibble
