#pragma once

#include <span>
#include <string_view>

#include "autograd/variable.h"

namespace nibble {

// The least an operation must do: floating-point operations (a multiply-add counts two), and bytes of
// operands read once and results written once.
struct OpCost {
  double flops = 0, bytes = 0;
};

// By the name and the intermediate result that make_op got. Products are counted exactly, everything else as
// one operation per element.
OpCost forward_cost(std::string_view op, std::span<const Variable> inputs, const Tensor& out,
                    std::int64_t intermediate = 0);
// The gradients of the inputs that require one.
OpCost backward_cost(std::string_view op, std::span<const Variable> inputs, const Tensor& out,
                     std::int64_t intermediate = 0);

}  // namespace nibble
