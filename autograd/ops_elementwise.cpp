#include "autograd/ops_elementwise.h"

#include "autograd/node.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"

namespace nibble {

Variable add(const Variable& a, const Variable& b) {
  return make_op("add", add(a.value(), b.value()), {a, b}, [](const Tensor& grad, const Needs&) -> Grads {
    return {grad, grad};
  });
}

Variable sub(const Variable& a, const Variable& b) {
  return make_op("sub", sub(a.value(), b.value()), {a, b},
                 [](const Tensor& grad, const Needs& needs) -> Grads {
                   return {grad, needs[1] ? std::optional(neg(grad)) : std::nullopt};
                 });
}

Variable mul(const Variable& a, const Variable& b) {
  return make_op(
      "mul", mul(a.value(), b.value()), {a, b},
      [a = saved_for(b, a.value()), b = saved_for(a, b.value())](const Tensor& grad, const Needs& needs) {
        Grads grads(2);
        if (needs[0]) grads[0] = mul(grad, b.get());
        if (needs[1]) grads[1] = mul(grad, a.get());
        return grads;
      });
}

Variable div(const Variable& a, const Variable& b) {
  return make_op(
      "div", div(a.value(), b.value()), {a, b},
      [a = saved_for(b, a.value()), b = SavedTensor(b.value())](const Tensor& grad, const Needs& needs) {
        Grads grads(2);
        if (needs[0]) grads[0] = div(grad, b.get());
        if (needs[1]) grads[1] = neg(div(mul(grad, a.get()), mul(b.get(), b.get())));
        return grads;
      });
}

Variable neg(const Variable& x) {
  return make_op("neg", neg(x.value()), {x},
                 [](const Tensor& grad, const Needs&) -> Grads { return {neg(grad)}; });
}

Variable abs(const Variable& x) {
  return make_op("abs", abs(x.value()), {x},
                 [x = SavedTensor(x.value())](const Tensor& grad, const Needs&) -> Grads {
                   return {mul(grad, sign(x.get()))};
                 });
}

Variable sqrt(const Variable& x) {
  const Tensor y = sqrt(x.value());
  return make_op("sqrt", y, {x}, [y = SavedTensor(y)](const Tensor& grad, const Needs&) -> Grads {
    return {div(grad, y.get() * 2)};
  });
}

Variable exp(const Variable& x) {
  const Tensor y = exp(x.value());
  return make_op("exp", y, {x}, [y = SavedTensor(y)](const Tensor& grad, const Needs&) -> Grads {
    return {mul(grad, y.get())};
  });
}

Variable log(const Variable& x) {
  return make_op("log", log(x.value()), {x},
                 [x = SavedTensor(x.value())](const Tensor& grad, const Needs&) -> Grads {
                   return {div(grad, x.get())};
                 });
}

Variable relu(const Variable& x) {
  // The result is positive where x is, and unlike x the next operation most likely keeps it anyway.
  const Tensor y = relu(x.value());
  return make_op("relu", y, {x}, [y = SavedTensor(y)](const Tensor& grad, const Needs&) -> Grads {
    return {relu_backward(grad, y.get())};
  });
}

Variable sigmoid(const Variable& x) {
  const Tensor y = sigmoid(x.value());
  return make_op("sigmoid", y, {x}, [y = SavedTensor(y)](const Tensor& grad, const Needs&) -> Grads {
    const Tensor& s = y.get();
    return {mul(grad, sub(s, mul(s, s)))};
  });
}

Variable tanh(const Variable& x) {
  const Tensor y = tanh(x.value());
  return make_op("tanh", y, {x}, [y = SavedTensor(y)](const Tensor& grad, const Needs&) -> Grads {
    return {sub(grad, mul(grad, mul(y.get(), y.get())))};
  });
}

Variable operator+(const Variable& a, double b) { return add(a, scalar(b, a.dtype())); }
Variable operator-(const Variable& a, double b) { return sub(a, scalar(b, a.dtype())); }
Variable operator*(const Variable& a, double b) { return mul(a, scalar(b, a.dtype())); }
Variable operator/(const Variable& a, double b) { return div(a, scalar(b, a.dtype())); }

}  // namespace nibble
