#include "autograd/ops_loss.h"

#include "autograd/node.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/reduce.h"
#include "tensor/softmax.h"

namespace nibble {

Variable softmax(const Variable& x, int dim) {
  const Tensor y = softmax(x.value(), dim);
  return make_op("softmax", y, {x}, [y = SavedTensor(y), dim](const Tensor& grad, const Needs&) -> Grads {
    return {softmax_backward(grad, y.get(), dim)};
  });
}

Variable log_softmax(const Variable& x, int dim) {
  const Tensor y = log_softmax(x.value(), dim);
  return make_op("log_softmax", y, {x}, [y = SavedTensor(y), dim](const Tensor& grad, const Needs&) -> Grads {
    return {log_softmax_backward(grad, y.get(), dim)};
  });
}

Variable cross_entropy(const Variable& logits, const Tensor& target, Reduction reduction) {
  NIBBLE_CHECK(logits.value().rank() == 2, "cross_entropy: logits have shape ", logits.shape(),
               ", expected [N, C]");
  const std::int64_t n = logits.size(0), classes = logits.size(1);
  NIBBLE_CHECK(target.defined() && target.shape() == Shape{n} && target.dtype() == DType::int64,
               "cross_entropy: target has shape ", target.shape(), " of ", target.dtype(), ", expected ",
               Shape{n}, " of int64");
  const Tensor labels = target.contiguous();
  for (std::int64_t i = 0; i < n; ++i) {
    const std::int64_t label = labels.data<std::int64_t>()[i];
    NIBBLE_CHECK(label >= 0 && label < classes, "cross_entropy: target ", i, " is ", label,
                 ", expected 0 to ", classes - 1);
  }
  const Tensor log_p = log_softmax(logits.value(), 1).contiguous();
  Tensor losses = empty({n}, log_p.dtype());
  visit(log_p.dtype(), [&](auto type) {
    using T = decltype(type);
    const T* const values = log_p.data<T>();
    T* const out = losses.mutable_data<T>();
    for (std::int64_t i = 0; i < n; ++i)
      out[i] = static_cast<T>(-values[i * classes + labels.data<std::int64_t>()[i]]);
  });
  const Tensor loss = reduction == Reduction::none  ? losses
                      : reduction == Reduction::sum ? sum(losses)
                                                    : mean(losses);
  return make_op(
      "cross_entropy", loss, {logits},
      [log_p = SavedTensor(log_p), labels = SavedTensor(labels), reduction](const Tensor& grad,
                                                                            const Needs&) -> Grads {
        // softmax - one_hot(target), times the upstream gradient of each sample.
        Tensor result = exp(log_p.get());
        const std::int64_t rows = result.size(0), columns = result.size(1);
        visit(result.dtype(), [&](auto type) {
          using T = decltype(type);
          T* const out = result.mutable_data<T>();
          for (std::int64_t i = 0; i < rows; ++i)
            out[i * columns + labels.get().data<std::int64_t>()[i]] -= T(1);
        });
        if (reduction == Reduction::none) return {mul(result, grad.reshape({rows, 1}))};
        return {mul(result, reduction == Reduction::mean ? grad / static_cast<double>(rows) : grad)};
      });
}

}  // namespace nibble
