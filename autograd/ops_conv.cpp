#include "autograd/ops_conv.h"

#include "autograd/node.h"
#include "tensor/conv_pool.h"

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

Variable conv2d_max_pool2d(const Variable& x, const Variable& weight, const Variable& bias,
                           const ConvOptions& options, Size2 kernel, const PoolOptions& pool) {
  const MaxPoolResult result = conv2d_max_pool2d(
      x.value(), weight.value(), bias.defined() ? bias.value() : Tensor(), options, kernel, pool);
  const Shape conv_shape = conv2d_shape(x.shape(), weight.shape(), options);
  const auto backward = [=, x_shape = x.shape(), weight_shape = weight.shape(),
                         indices = SavedTensor(result.indices), x = saved_for(weight, x.value()),
                         weight = saved_for(x, weight.value())](const Tensor& grad, const Needs& needs) {
    Grads grads(needs.size());
    const bool needs_bias = needs.size() > 2 && needs[2];
    if (!needs[0] && needs[1]) {
      ConvParameterGrads parameters = conv2d_max_pool2d_backward_parameters(
          grad, indices.get(), x.get(), weight_shape, options, kernel, pool);
      grads[1] = std::move(parameters.weight);
      if (needs_bias) grads[2] = std::move(parameters.bias);
      return grads;
    }
    const Tensor conv_grad = max_pool2d_backward(grad, indices.get(), conv_shape, kernel, pool);
    if (needs[0]) grads[0] = conv2d_backward_input(conv_grad, weight.get(), x_shape, options);
    if (needs[1]) grads[1] = conv2d_backward_weight(conv_grad, x.get(), weight_shape, options);
    if (needs_bias) grads[2] = conv2d_backward_bias(conv_grad);
    return grads;
  };
  std::vector<Variable> inputs{x, weight};
  if (bias.defined()) inputs.push_back(bias);
  return make_op("conv2d_max_pool2d", result.values, inputs, backward, conv_shape.numel());
}

}  // namespace nibble
