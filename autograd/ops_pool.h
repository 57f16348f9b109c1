#pragma once

#include "autograd/variable.h"
#include "tensor/pool.h"

namespace nibble {

// Differentiable forms of tensor/pool.h. max_pool2d selects elements and so keeps the annotation, but
// not with relu, whose zeros are no elements of x.
Variable max_pool2d(const Variable& x, Size2 kernel, const PoolOptions& options = {});
Variable avg_pool2d(const Variable& x, Size2 kernel, const PoolOptions& options = {});
Variable adaptive_avg_pool2d(const Variable& x, Size2 output);

}  // namespace nibble
