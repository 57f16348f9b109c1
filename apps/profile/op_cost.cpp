#include "apps/profile/op_cost.h"

#include <algorithm>

#include "autograd/node.h"

namespace nibble {
namespace {

double elements(const Tensor& x) { return static_cast<double>(x.numel()); }
double bytes(const Tensor& x) { return elements(x) * static_cast<double>(size_of(x.dtype())); }

bool is_product(std::string_view op) {
  return op == "conv2d" || op == "conv2d_max_pool2d" || op == "linear" || op == "matmul";
}

// Multiply-adds per element of the product.
double depth(std::string_view op, std::span<const Variable> inputs) {
  if (op == "matmul") return static_cast<double>(inputs[0].size(-1));
  return elements(inputs[1].value()) / static_cast<double>(inputs[1].size(0));  // one filter, one row
}

// Elements of the product, which is the result or was on the way to it.
double products(const Tensor& out, std::int64_t intermediate) {
  return intermediate > 0 ? static_cast<double>(intermediate) : elements(out);
}

}  // namespace

OpCost forward_cost(std::string_view op, std::span<const Variable> inputs, const Tensor& out,
                    std::int64_t intermediate) {
  OpCost cost{elements(out), bytes(out)};
  for (const Variable& input : inputs) cost.bytes += bytes(input.value());
  if (is_product(op)) {
    cost.flops = 2 * products(out, intermediate) * depth(op, inputs);
    if (inputs.size() > 2) cost.flops += products(out, intermediate);
    cost.flops += static_cast<double>(intermediate);
  } else {
    for (const Variable& input : inputs) cost.flops = std::max(cost.flops, elements(input.value()));
  }
  return cost;
}

OpCost backward_cost(std::string_view op, std::span<const Variable> inputs, const Tensor& out,
                     std::int64_t intermediate) {
  OpCost cost{static_cast<double>(intermediate), bytes(out)};
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!wants_grad(inputs[i])) continue;
    const Tensor& gradient = inputs[i].value();
    cost.bytes += bytes(gradient);
    if (is_product(op) && i < 2) {
      cost.flops += 2 * products(out, intermediate) * depth(op, inputs);
      cost.bytes += bytes(inputs[1 - i].value());
    } else {
      cost.flops += std::max(products(out, intermediate), elements(gradient));
      if (!is_product(op)) cost.bytes += bytes(out);  // what the forward pass saved
    }
  }
  return cost;
}

}  // namespace nibble
