#include "autograd/ops_pool.h"

#include "autograd/node.h"

namespace nibble {

Variable max_pool2d(const Variable& x, Size2 kernel, const PoolOptions& options) {
  const MaxPoolResult result = max_pool2d(x.value(), kernel, options);
  return make_op("max_pool2d", result.values, {x},
                 [indices = SavedTensor(result.indices), shape = x.shape(), kernel, options](
                     const Tensor& grad, const Needs&) -> Grads {
                   return {max_pool2d_backward(grad, indices.get(), shape, kernel, options)};
                 })
      .with_annotation(options.relu ? nullptr : x.annotation());
}

Variable avg_pool2d(const Variable& x, Size2 kernel, const PoolOptions& options) {
  return make_op("avg_pool2d", avg_pool2d(x.value(), kernel, options), {x},
                 [shape = x.shape(), kernel, options](const Tensor& grad, const Needs&) -> Grads {
                   return {avg_pool2d_backward(grad, shape, kernel, options)};
                 });
}

Variable adaptive_avg_pool2d(const Variable& x, Size2 output) {
  return make_op("adaptive_avg_pool2d", adaptive_avg_pool2d(x.value(), output), {x},
                 [shape = x.shape()](const Tensor& grad, const Needs&) -> Grads {
                   return {adaptive_avg_pool2d_backward(grad, shape)};
                 });
}

}  // namespace nibble
