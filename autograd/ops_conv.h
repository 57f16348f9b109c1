#pragma once

#include "autograd/variable.h"
#include "tensor/conv.h"
#include "tensor/pool.h"

namespace nibble {

// Differentiable form of tensor/conv.h; bias may be undefined.
Variable conv2d(const Variable& x, const Variable& weight, const Variable& bias = {},
                const ConvOptions& options = {});

// Differentiable form of tensor/conv_pool.h: max_pool2d(conv2d(x, weight, bias, options), kernel, pool), same
// bits forward, same gradients but for the order of sums.
Variable conv2d_max_pool2d(const Variable& x, const Variable& weight, const Variable& bias,
                           const ConvOptions& options, Size2 kernel, const PoolOptions& pool);

}  // namespace nibble
