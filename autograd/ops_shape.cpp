#include "autograd/ops_shape.h"

#include "autograd/node.h"
#include "tensor/factory.h"

namespace nibble {

namespace {

// x in the shape of `y`, which holds its elements.
Variable reshaped(const Variable& x, const Tensor& y) {
  return make_op(
             "reshape", y, {x},
             [from = x.shape()](const Tensor& grad, const Needs&) -> Grads { return {grad.reshape(from)}; })
      .with_annotation(x.annotation());
}

}  // namespace

Variable reshape(const Variable& x, const Shape& shape) { return reshaped(x, x.value().reshape(shape)); }

Variable flatten(const Variable& x, int start_dim) { return reshaped(x, x.value().flatten(start_dim)); }

Variable permute(const Variable& x, const Shape& order) {
  const Tensor y = x.value().permute(order);
  Shape inverse = order;
  for (int i = 0; i < order.rank(); ++i)
    inverse[normalize_dim("permute", static_cast<int>(order[i]), order.rank())] = i;
  return make_op("permute", y, {x},
                 [inverse](const Tensor& grad, const Needs&) -> Grads { return {grad.permute(inverse)}; })
      .with_annotation(x.annotation());
}

Variable transpose(const Variable& x, int a, int b) {
  return make_op("transpose", x.value().transpose(a, b), {x},
                 [a, b](const Tensor& grad, const Needs&) -> Grads { return {grad.transpose(a, b)}; })
      .with_annotation(x.annotation());
}

Variable narrow(const Variable& x, int dim, std::int64_t start, std::int64_t length) {
  return make_op("narrow", x.value().narrow(dim, start, length), {x},
                 [=, shape = x.shape()](const Tensor& grad, const Needs&) -> Grads {
                   Tensor result = zeros(shape, grad.dtype());
                   result.narrow(dim, start, length).copy_from(grad);
                   return {result};
                 })
      .with_annotation(x.annotation());
}

Variable broadcast_to(const Variable& x, const Shape& shape) {
  return make_op("broadcast_to", x.value().broadcast_to(shape), {x},
                 [](const Tensor& grad, const Needs&) -> Grads { return {grad}; });
}

}  // namespace nibble
