#pragma once

#include "autograd/variable.h"
#include "tensor/conv.h"

namespace nibble {

// Differentiable form of tensor/conv.h; bias may be undefined.
Variable conv2d(const Variable& x, const Variable& weight, const Variable& bias = {},
                const ConvOptions& options = {});

}  // namespace nibble
