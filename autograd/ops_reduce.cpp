#include "autograd/ops_reduce.h"

#include "autograd/node.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/reduce.h"

namespace nibble {
namespace {

// Shape of x with the reduced dimensions as 1: what the gradient of a reduction broadcasts from.
Shape kept_shape(const char* op, const Shape& x, const std::vector<int>& dims) {
  Shape shape = dims.empty() ? Shape::filled(x.rank(), 1) : x;
  for (int dim : dims) shape[normalize_dim(op, dim, x.rank())] = 1;
  return shape;
}

}  // namespace

Variable sum(const Variable& x, const std::vector<int>& dims, bool keepdim) {
  const Shape kept = kept_shape("sum", x.shape(), dims);
  return make_op("sum", sum(x.value(), dims, keepdim), {x},
                 [kept, shape = x.shape()](const Tensor& grad, const Needs&) -> Grads {
                   return {grad.reshape(kept).broadcast_to(shape)};
                 });
}

Variable mean(const Variable& x, const std::vector<int>& dims, bool keepdim) {
  const Shape kept = kept_shape("mean", x.shape(), dims);
  return make_op("mean", mean(x.value(), dims, keepdim), {x},
                 [kept, shape = x.shape()](const Tensor& grad, const Needs&) -> Grads {
                   const double count =
                       static_cast<double>(shape.numel()) / static_cast<double>(kept.numel());
                   return {(grad / count).reshape(kept).broadcast_to(shape)};
                 });
}

Variable max(const Variable& x) {
  const Tensor y = max(x.value());
  return make_op("max", y, {x},
                 [x = SavedTensor(x.value()), y = SavedTensor(y)](const Tensor& grad, const Needs&) -> Grads {
                   const Tensor is_maximum = equal(x.get(), y.get());
                   return {mul(is_maximum, div(grad, sum(is_maximum)))};
                 });
}

Variable max(const Variable& x, int dim, bool keepdim) {
  dim = normalize_dim("max", dim, x.value().rank());
  const MaxResult result = max(x.value(), dim, true);
  const Tensor y = keepdim ? result.values : result.values.squeeze(dim);
  return make_op("max_dim", y, {x},
                 [dim, shape = x.shape(), indices = SavedTensor(result.indices)](const Tensor& grad,
                                                                                 const Needs&) -> Grads {
                   // One where the position along `dim` is the chosen one.
                   Shape along = Shape::filled(shape.rank(), 1);
                   along[dim] = shape[dim];
                   const Tensor chosen =
                       equal(arange(shape[dim]).reshape(along), indices.get()).to(grad.dtype());
                   return {mul(chosen, grad.reshape(indices.get().shape()))};
                 });
}

}  // namespace nibble
