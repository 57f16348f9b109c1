#include "tensor/elementwise.h"

#include "tensor/factory.h"
#include "tensor/kernels/elementwise.h"
#include "tensor/loop.h"

#define NIBBLE_TIER reference
#include "tensor/kernels/elementwise_ops.h"

namespace nibble {
namespace {

// Dense in the order of x's dimensions when x has no gaps and no broadcast dimension; contiguous otherwise.
Strides dense_strides_like(const Tensor& x) {
  Shape sizes = x.shape();
  std::array<Strides, 1> strides{x.strides()};
  const auto loop = make_loop<1>(sizes, strides);
  return loop.outer.empty() && loop.step[0] == 1 && loop.row == x.numel() ? x.strides()
                                                                          : contiguous_strides(x.shape());
}

Tensor dense_like(const Tensor& x) {
  const Tensor block = empty({x.numel()}, x.dtype());
  return Tensor(block.storage(), x.shape(), dense_strides_like(x), 0, x.dtype());
}

// The kernels want unit (or zero) steps within a row.
Tensor with_unit_steps(const Tensor& x, const Shape& shape) {
  return x.shape() == shape ? x.contiguous() : x.contiguous().broadcast_to(shape);
}

template <class Op>
void apply_unary(ElementwiseKernels::Unary kernel, const Tensor& x, Tensor& out) {
  auto loop = make_loop<2>(out.shape(), {out.strides(), x.strides()});
  if (loop.step[1] != 1 && loop.row > 1) return apply_unary<Op>(kernel, x.contiguous(), out);
  visit(x.dtype(), [&](auto type) {
    using T = decltype(type);
    T* const o = out.mutable_data<T>();
    const T* const i = x.data<T>();
    for_each_row(loop, [&](const auto& at, std::int64_t n) {
      if constexpr (std::is_same_v<T, float>) {
        kernel(i + at[1], o + at[0], static_cast<std::size_t>(n));
      } else {
        for (std::int64_t k = 0; k < n; ++k) o[at[0] + k] = Op{}(i[at[1] + k]);
      }
    });
  });
}

template <class Op>
Tensor unary(ElementwiseKernels::Unary kernel, const Tensor& x) {
  Tensor out = dense_like(x);
  if (out.strides() == x.strides() || x.is_contiguous())
    apply_unary<Op>(kernel, x, out);
  else
    apply_unary<Op>(kernel, x.contiguous(), out);
  return out;
}

template <class Op>
void apply_binary(ElementwiseKernels::Binary kernel, const Tensor& a, const Tensor& b, Tensor& out) {
  const auto loop = make_loop<3>(out.shape(), {out.strides(), a.strides(), b.strides()});
  const auto fits = [&](std::int64_t step) { return step == 0 || step == 1 || loop.row == 1; };
  if (!fits(loop.step[1]) || !fits(loop.step[2]) || !fits(loop.step[0])) {
    NIBBLE_ASSERT(out.is_contiguous());
    const Tensor ca = a.clone(), cb = b.clone();
    return apply_binary<Op>(kernel, ca, cb, out);
  }
  visit(out.dtype(), [&](auto type) {
    using T = decltype(type);
    T* const o = out.mutable_data<T>();
    const T* const pa = a.data<T>();
    const T* const pb = b.data<T>();
    for_each_row(loop, [&](const auto& at, std::int64_t n) {
      if constexpr (std::is_same_v<T, float>) {
        kernel(pa + at[1], static_cast<std::size_t>(loop.step[1]), pb + at[2],
               static_cast<std::size_t>(loop.step[2]), o + at[0], static_cast<std::size_t>(n));
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
  const bool a_is_full = a.shape() == shape, b_is_full = b.shape() == shape;
  const bool same_layout = a_is_full && (!b_is_full || a.strides() == b.strides());
  Tensor out = same_layout ? dense_like(a) : empty(shape, a.dtype());
  if (same_layout && out.strides() == a.strides()) {
    apply_binary<Op>(kernel, a, b.broadcast_to(shape), out);
  } else {
    out = empty(shape, a.dtype());
    apply_binary<Op>(kernel, with_unit_steps(a, shape).broadcast_to(shape),
                     with_unit_steps(b, shape).broadcast_to(shape), out);
  }
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
  NIBBLE_CHECK(is_floating_point(a.dtype()), "div: dtype ", a.dtype(), ", expected float32 or float64");
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

Tensor neg(const Tensor& x) { return unary<reference::Neg>(elementwise_kernels().neg, x); }
Tensor abs(const Tensor& x) { return unary<reference::Abs>(elementwise_kernels().abs, x); }
Tensor sign(const Tensor& x) { return unary<reference::Sign>(elementwise_kernels().sign, x); }
Tensor sqrt(const Tensor& x) { return unary<reference::Sqrt>(elementwise_kernels().sqrt, x); }
Tensor exp(const Tensor& x) { return unary<reference::Exp>(elementwise_kernels().exp, x); }
Tensor log(const Tensor& x) { return unary<reference::Log>(elementwise_kernels().log, x); }
Tensor relu(const Tensor& x) { return unary<reference::Relu>(elementwise_kernels().relu, x); }
Tensor sigmoid(const Tensor& x) { return unary<reference::Sigmoid>(elementwise_kernels().sigmoid, x); }
Tensor tanh(const Tensor& x) { return unary<reference::Tanh>(elementwise_kernels().tanh, x); }
Tensor round(const Tensor& x) { return unary<reference::Round>(elementwise_kernels().round, x); }

void add_in_place(Tensor& accumulator, const Tensor& x) {
  check_operands("add_in_place", accumulator, x);
  const Tensor source = x.storage() == accumulator.storage() ? x.clone() : x;
  const Tensor wide = source.broadcast_to(accumulator.shape());
  if (accumulator.is_contiguous() || accumulator.strides() == wide.strides())
    apply_binary<reference::Add>(elementwise_kernels().add, accumulator, wide, accumulator);
  else
    accumulator.copy_from(add(accumulator, wide));
}

Tensor operator+(const Tensor& a, double b) { return add(a, scalar(b, a.dtype())); }
Tensor operator-(const Tensor& a, double b) { return sub(a, scalar(b, a.dtype())); }
Tensor operator*(const Tensor& a, double b) { return mul(a, scalar(b, a.dtype())); }
Tensor operator/(const Tensor& a, double b) { return div(a, scalar(b, a.dtype())); }

}  // namespace nibble
