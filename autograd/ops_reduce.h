#pragma once

#include <vector>

#include "autograd/variable.h"

namespace nibble {

// Differentiable forms of tensor/reduce.h.
Variable sum(const Variable& x, const std::vector<int>& dims = {}, bool keepdim = false);
Variable mean(const Variable& x, const std::vector<int>& dims = {}, bool keepdim = false);

// Over all elements: tied maxima share the gradient evenly, as PyTorch's max().
Variable max(const Variable& x);
// Along one dimension: the first maximum takes the gradient, as PyTorch's max(dim).
Variable max(const Variable& x, int dim, bool keepdim = false);

}  // namespace nibble
