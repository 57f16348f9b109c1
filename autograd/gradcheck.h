#pragma once

#include <functional>
#include <vector>

#include "autograd/variable.h"

namespace nibble {

struct GradcheckOptions {
  double step = 1e-6;       // of the central difference
  double tolerance = 1e-7;  // |analytic - numeric| <= tolerance * max(1, |numeric|)
};

// Compares the gradients of f, a function of `inputs` (float64), with central differences of a random
// projection of its result. Throws std::runtime_error naming input, element and both values where they
// differ.
void gradcheck(const std::function<Variable(const std::vector<Variable>&)>& f,
               const std::vector<Tensor>& inputs, const GradcheckOptions& options = {});

}  // namespace nibble
