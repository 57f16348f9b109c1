#include "autograd/ops_matmul.h"

#include "autograd/node.h"
#include "tensor/matmul.h"

namespace nibble {

Variable matmul(const Variable& a, const Variable& b) {
  return make_op(
      "matmul", matmul(a.value(), b.value()), {a, b},
      [a = saved_for(b, a.value()), b = saved_for(a, b.value())](const Tensor& grad, const Needs& needs) {
        Grads grads(2);
        if (needs[0]) grads[0] = matmul(grad, b.get().transpose(-1, -2));
        if (needs[1]) grads[1] = matmul(a.get().transpose(-1, -2), grad);
        return grads;
      });
}

Variable linear(const Variable& x, const Variable& weight, const Variable& bias) {
  const Tensor y = linear(x.value(), weight.value(), bias.defined() ? bias.value() : Tensor());
  const auto backward = [x = saved_for(weight, x.value()), weight = saved_for(x, weight.value())](
                            const Tensor& grad, const Needs& needs) {
    Grads grads(needs.size());
    if (needs[0]) grads[0] = linear_backward_input(grad, weight.get());
    if (needs[1]) grads[1] = linear_backward_weight(grad, x.get());
    if (needs.size() > 2 && needs[2]) grads[2] = grad;
    return grads;
  };
  if (bias.defined()) return make_op("linear", y, {x, weight, bias}, backward);
  return make_op("linear", y, {x, weight}, backward);
}

}  // namespace nibble
