#pragma once

#include "autograd/variable.h"

namespace nibble {

// Differentiable forms of tensor/matmul.h.
Variable matmul(const Variable& a, const Variable& b);
// x [..., in], weight [out, in], bias [out] or undefined.
Variable linear(const Variable& x, const Variable& weight, const Variable& bias = {});

}  // namespace nibble
