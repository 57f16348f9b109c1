#include "tensor/softmax.h"

#include "tensor/kernels/reference.h"
#include "tensor/layout.h"
#include "tensor/loop.h"

namespace nibble {
namespace {

template <class F>
void visit_float(const char* name, DType dtype, F&& f) {
  NIBBLE_CHECK(is_floating_point(dtype), name, ": dtype ", dtype, ", expected float32 or float64");
  if (dtype == DType::float32)
    f(float{});
  else
    f(double{});
}

template <class Line>
Tensor forward(const char* name, const Tensor& x, int dim, Line line) {
  NIBBLE_CHECK(x.defined(), name, ": undefined tensor");
  dim = normalize_dim(name, dim, x.rank());
  Tensor y = empty_in_layout_of(x);
  if (y.numel() == 0) return y;
  const auto loop = make_line_loop<2>(x.shape(), {y.strides(), x.strides()}, dim);
  const std::int64_t n = x.size(dim), y_step = y.strides()[dim], x_step = x.strides()[dim];
  visit_float(name, x.dtype(), [&](auto type) {
    using T = decltype(type);
    T* const out = y.template mutable_data<T>();
    const T* const in = x.template data<T>();
    for_each_row(loop, [&](const auto& at, std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i)
        line(in + at[1] + i * loop.step[1], x_step, out + at[0] + i * loop.step[0], y_step, n);
    });
  });
  return y;
}

template <class Line>
Tensor backward(const char* name, const Tensor& grad, const Tensor& y, int dim, Line line) {
  NIBBLE_CHECK(grad.defined() && y.defined(), name, ": undefined tensor");
  NIBBLE_CHECK(grad.shape() == y.shape() && grad.dtype() == y.dtype(), name, ": gradient is ", grad.dtype(),
               grad.shape(), ", result is ", y.dtype(), y.shape());
  dim = normalize_dim(name, dim, y.rank());
  Tensor out = empty_in_layout_of(y);
  if (out.numel() == 0) return out;
  const auto loop = make_line_loop<3>(y.shape(), {out.strides(), grad.strides(), y.strides()}, dim);
  const std::int64_t n = y.size(dim), out_step = out.strides()[dim], grad_step = grad.strides()[dim],
                     y_step = y.strides()[dim];
  visit_float(name, y.dtype(), [&](auto type) {
    using T = decltype(type);
    T* const o = out.template mutable_data<T>();
    const T* const g = grad.template data<T>();
    const T* const v = y.template data<T>();
    for_each_row(loop, [&](const auto& at, std::int64_t count) {
      for (std::int64_t i = 0; i < count; ++i)
        line(g + at[1] + i * loop.step[1], grad_step, v + at[2] + i * loop.step[2], y_step,
             o + at[0] + i * loop.step[0], out_step, n);
    });
  });
  return out;
}

}  // namespace

Tensor softmax(const Tensor& x, int dim) {
  return forward("softmax", x, dim, [](auto... args) { reference::softmax(args...); });
}
Tensor log_softmax(const Tensor& x, int dim) {
  return forward("log_softmax", x, dim, [](auto... args) { reference::log_softmax(args...); });
}
Tensor softmax_backward(const Tensor& grad_out, const Tensor& y, int dim) {
  return backward("softmax_backward", grad_out, y, dim,
                  [](auto... args) { reference::softmax_backward(args...); });
}
Tensor log_softmax_backward(const Tensor& grad_out, const Tensor& y, int dim) {
  return backward("log_softmax_backward", grad_out, y, dim,
                  [](auto... args) { reference::log_softmax_backward(args...); });
}

}  // namespace nibble
