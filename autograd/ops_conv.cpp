#include "autograd/ops_conv.h"

#include "autograd/node.h"

namespace nibble {

Variable conv2d(const Variable& x, const Variable& weight, const Variable& bias, const ConvOptions& options) {
  const Tensor y = conv2d(x.value(), weight.value(), bias.defined() ? bias.value() : Tensor(), options);
  const auto backward = [x_shape = x.shape(), weight_shape = weight.shape(), options,
                         x = saved_for(weight, x.value()),
                         weight = saved_for(x, weight.value())](const Tensor& grad, const Needs& needs) {
    Grads grads(needs.size());
    if (needs[0]) grads[0] = conv2d_backward_input(grad, weight.get(), x_shape, options);
    if (needs[1]) grads[1] = conv2d_backward_weight(grad, x.get(), weight_shape, options);
    if (needs.size() > 2 && needs[2]) grads[2] = conv2d_backward_bias(grad);
    return grads;
  };
  if (bias.defined()) return make_op("conv2d", y, {x, weight, bias}, backward);
  return make_op("conv2d", y, {x, weight}, backward);
}

}  // namespace nibble
