#pragma once

#include "autograd/variable.h"

namespace nibble {

// Differentiable forms of the views of Tensor. All but broadcast_to move or select elements and so keep the
// annotation.
Variable reshape(const Variable& x, const Shape& shape);
Variable flatten(const Variable& x, int start_dim = 0);
Variable permute(const Variable& x, const Shape& order);
Variable transpose(const Variable& x, int a, int b);
Variable narrow(const Variable& x, int dim, std::int64_t start, std::int64_t length);
Variable broadcast_to(const Variable& x, const Shape& shape);

}  // namespace nibble
