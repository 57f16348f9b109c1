#include "tensor/elementwise.h"

#include "tensor/factory.h"
#include "tensor/kernels/elementwise.h"
#include "tensor/layout.h"
#include "tensor/loop.h"

#define NIBBLE_TIER reference
#include "tensor/kernels/elementwise_ops.h"

namespace nibble {
namespace {

// The kernels take operands whose elements lie back to back along a row, or (binary ones) stay the same.
bool steps_fit(std::int64_t row, std::int64_t step, bool zero_too) {
  return row == 1 || step == 1 || (zero_too && step == 0);
}

// For operations whose results the integers do not have.
void check_floating_point(const char* name, const Tensor& x) {
  NIBBLE_CHECK(!x.defined() || is_floating_point(x.dtype()), name, ": dtype ", x.dtype(),
               ", expected float32 or float64");
}

template <class Op>
Tensor unary(const char* name, ElementwiseKernels::Unary kernel, const Tensor& x) {
  NIBBLE_CHECK(x.defined(), name, ": undefined tensor");
  Tensor out = empty_in_layout_of(x);
  Tensor in = x;
  auto loop = make_loop<2>(out.shape(), {out.strides(), in.strides()});
  if (!steps_fit(loop.row, loop.step[1], false)) {
    in = with_strides(x, out.strides());
    loop = make_loop<2>(out.shape(), {out.strides(), in.strides()});
  }
  visit(x.dtype(), [&](auto type) {
    using T = decltype(type);
    T* const o = out.mutable_data<T>();
    const T* const i = in.data<T>();
    for_each_row(loop, [&](const auto& at, std::int64_t n) {
      if constexpr (std::is_same_v<T, float>) {
        kernel(i + at[1], o + at[0], static_cast<std::size_t>(n));
      } else {
        for (std::int64_t k = 0; k < n; ++k) o[at[0] + k] = Op{}(i[at[1] + k]);
      }
    });
  });
  return out;
}

template <class Op>
Tensor floating_unary(const char* name, ElementwiseKernels::Unary kernel, const Tensor& x) {
  check_floating_point(name, x);
  return unary<Op>(name, kernel, x);
}

// out = a op b, all of one shape; the elements of a row of out lie back to back.
template <class Op>
void apply_binary(ElementwiseKernels::Binary kernel, Tensor a, Tensor b, Tensor& out) {
  auto loop = make_loop<3>(out.shape(), {out.strides(), a.strides(), b.strides()});
  const bool a_fits = steps_fit(loop.row, loop.step[1], true);
  const bool b_fits = steps_fit(loop.row, loop.step[2], true);
  if (!a_fits || !b_fits) {
    const Strides dense = dense_strides_like(out);
    if (!a_fits) a = with_strides(a, dense);
    if (!b_fits) b = with_strides(b, dense);
    loop = make_loop<3>(out.shape(), {out.strides(), a.strides(), b.strides()});
  }
  visit(out.dtype(), [&](auto type) {
    using T = decltype(type);
    T* const o = out.mutable_data<T>();
    const T* const pa = a.data<T>();
    const T* const pb = b.data<T>();
    for_each_row(loop, [&](const auto& at, std::int64_t n) {
      if constexpr (std::is_same_v<T, float>) {
        // A row of one element may have any step.
        const std::size_t a_step = loop.step[1] == 0 ? 0 : 1, b_step = loop.step[2] == 0 ? 0 : 1;
        kernel(pa + at[1], a_step, pb + at[2], b_step, o + at[0], static_cast<std::size_t>(n));
      } else {
        for (std::int64_t k = 0; k < n; ++k)
          o[at[0] + k] = Op{}(pa[at[1] + k * loop.step[1]], pb[at[2] + k * loop.step[2]]);
      }
    });
  });
}

void check_operands(const char* name, const Tensor& a, const Tensor& b) {
  NIBBLE_CHECK(a.defined() && b.defined(), name, ": undefined tensor");
  NIBBLE_CHECK(a.dtype() == b.dtype(), name, ": dtypes ", a.dtype(), " and ", b.dtype(), " differ");
}

template <class Op>
Tensor binary(const char* name, ElementwiseKernels::Binary kernel, const Tensor& a, const Tensor& b) {
  check_operands(name, a, b);
  const Shape shape = broadcast_shapes(name, a.shape(), b.shape());
  const Tensor wide_a = a.broadcast_to(shape), wide_b = b.broadcast_to(shape);
  // The first operand that fills the shape tells the layout.
  Tensor out = empty_in_layout_of(is_broadcast(wide_a) ? wide_b : wide_a);
  apply_binary<Op>(kernel, wide_a, wide_b, out);
  return out;
}

}  // namespace

Tensor add(const Tensor& a, const Tensor& b) {
  return binary<reference::Add>("add", elementwise_kernels().add, a, b);
}
Tensor sub(const Tensor& a, const Tensor& b) {
  return binary<reference::Sub>("sub", elementwise_kernels().sub, a, b);
}
Tensor mul(const Tensor& a, const Tensor& b) {
  return binary<reference::Mul>("mul", elementwise_kernels().mul, a, b);
}
Tensor div(const Tensor& a, const Tensor& b) {
  check_floating_point("div", a);
  return binary<reference::Div>("div", elementwise_kernels().div, a, b);
}
Tensor maximum(const Tensor& a, const Tensor& b) {
  return binary<reference::Maximum>("maximum", elementwise_kernels().maximum, a, b);
}
Tensor minimum(const Tensor& a, const Tensor& b) {
  return binary<reference::Minimum>("minimum", elementwise_kernels().minimum, a, b);
}
Tensor greater(const Tensor& a, const Tensor& b) {
  return binary<reference::Greater>("greater", elementwise_kernels().greater, a, b);
}
Tensor greater_equal(const Tensor& a, const Tensor& b) {
  return binary<reference::GreaterEqual>("greater_equal", elementwise_kernels().greater_equal, a, b);
}
Tensor equal(const Tensor& a, const Tensor& b) {
  return binary<reference::Equal>("equal", elementwise_kernels().equal, a, b);
}
Tensor relu_backward(const Tensor& grad, const Tensor& x) {
  return binary<reference::ReluBackward>("relu_backward", elementwise_kernels().relu_backward, grad, x);
}

Tensor neg(const Tensor& x) { return unary<reference::Neg>("neg", elementwise_kernels().neg, x); }
Tensor abs(const Tensor& x) { return unary<reference::Abs>("abs", elementwise_kernels().abs, x); }
Tensor sign(const Tensor& x) { return unary<reference::Sign>("sign", elementwise_kernels().sign, x); }
Tensor sqrt(const Tensor& x) {
  return floating_unary<reference::Sqrt>("sqrt", elementwise_kernels().sqrt, x);
}
Tensor exp(const Tensor& x) { return floating_unary<reference::Exp>("exp", elementwise_kernels().exp, x); }
Tensor log(const Tensor& x) { return floating_unary<reference::Log>("log", elementwise_kernels().log, x); }
Tensor relu(const Tensor& x) { return unary<reference::Relu>("relu", elementwise_kernels().relu, x); }
Tensor sigmoid(const Tensor& x) {
  return floating_unary<reference::Sigmoid>("sigmoid", elementwise_kernels().sigmoid, x);
}
Tensor tanh(const Tensor& x) {
  return floating_unary<reference::Tanh>("tanh", elementwise_kernels().tanh, x);
}
Tensor round(const Tensor& x) { return unary<reference::Round>("round", elementwise_kernels().round, x); }

void add_in_place(Tensor& accumulator, const Tensor& x) {
  check_operands("add_in_place", accumulator, x);
  NIBBLE_CHECK(!is_broadcast(accumulator), "add_in_place: the accumulator is a broadcast view");
  const Tensor source = x.storage() == accumulator.storage() ? x.clone() : x;
  const Tensor wide = source.broadcast_to(accumulator.shape());
  const auto loop = make_loop<1>(accumulator.shape(), {accumulator.strides()});
  if (steps_fit(loop.row, loop.step[0], false))
    apply_binary<reference::Add>(elementwise_kernels().add, accumulator, wide, accumulator);
  else
    accumulator.copy_from(add(accumulator, wide));
}

Tensor operator+(const Tensor& a, double b) { return add(a, scalar(b, a.dtype())); }
Tensor operator-(const Tensor& a, double b) { return sub(a, scalar(b, a.dtype())); }
Tensor operator*(const Tensor& a, double b) { return mul(a, scalar(b, a.dtype())); }
Tensor operator/(const Tensor& a, double b) { return div(a, scalar(b, a.dtype())); }

}  // namespace nibble
