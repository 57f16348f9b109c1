#pragma once

#include "autograd/variable.h"

namespace nibble {

// Differentiable forms of tensor/softmax.h.
Variable softmax(const Variable& x, int dim);
Variable log_softmax(const Variable& x, int dim);

enum class Reduction { mean, sum, none };

// -log_softmax(logits, 1)[n][target[n]], averaged, added up, or per sample ([N]).
//   logits [N, C] float32 or float64, target [N] int64 with values in [0, C)
// Throws, naming the first offending sample, when a target is out of range.
Variable cross_entropy(const Variable& logits, const Tensor& target, Reduction reduction = Reduction::mean);

}  // namespace nibble
