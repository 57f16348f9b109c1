#pragma once

// One element (or vector of elements) of an optimizer step, in PyTorch's order of operations. V is a SIMD
// vector in the kernels and double in the reference.

#include <cmath>

#include "tensor/kernels/optimizer.h"
#include "tensor/simd/quotient.h"

namespace nibble::NIBBLE_TIER {
namespace {

// Returns the new parameter; `buffer` is the momentum buffer, updated.
template <class V, class S>
V sgd_update(V parameter, V grad, V& buffer, const SgdStep& step) {
  const auto constant = [](double value) { return V(static_cast<S>(value)); };
  if (step.weight_decay != 0) grad = grad + constant(step.weight_decay) * parameter;
  if (step.momentum != 0) {
    buffer = step.first ? grad : constant(step.momentum) * buffer + constant(1 - step.dampening) * grad;
    grad = step.nesterov ? grad + constant(step.momentum) * buffer : buffer;
  }
  return parameter - constant(step.lr) * grad;
}

template <class V, class S>
V adam_update(V parameter, V grad, V& exp_avg, V& exp_avg_sq, const AdamStep& step) {
  using std::sqrt;
  const auto constant = [](double value) { return V(static_cast<S>(value)); };
  if (step.decoupled)
    parameter = parameter * constant(1 - step.lr * step.weight_decay);
  else if (step.weight_decay != 0)
    grad = grad + constant(step.weight_decay) * parameter;
  exp_avg = constant(step.beta1) * exp_avg + constant(1 - step.beta1) * grad;
  exp_avg_sq = constant(step.beta2) * exp_avg_sq + constant(1 - step.beta2) * (grad * grad);
  const V root = sqrt(exp_avg_sq);
  const V denominator = quotient(root, constant(std::sqrt(step.bias_correction2))) + constant(step.eps);
  return parameter - constant(step.lr / step.bias_correction1) * quotient(exp_avg, denominator);
}

}  // namespace
}  // namespace nibble::NIBBLE_TIER
