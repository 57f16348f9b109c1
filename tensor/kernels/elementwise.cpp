#include "tensor/kernels/elementwise.h"

#include "tensor/kernels/elementwise_ops.h"
#include "tensor/simd/vec.h"

namespace nibble::NIBBLE_TIER {
namespace {

template <class Op>
void unary(const float* x, float* out, std::size_t n) noexcept {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, Op{}(load(x + i)));
  if (i < n) store_partial(out + i, Op{}(load_partial(x + i, n - i)), n - i);
}

template <class Op, class A, class B>
void binary_loop(A a, B b, float* out, std::size_t n) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(out + i, Op{}(a(i, kLanes), b(i, kLanes)));
  if (i < n) store_partial(out + i, Op{}(a(i, n - i), b(i, n - i)), n - i);
}

template <class Op>
void binary(const float* a, std::size_t a_step, const float* b, std::size_t b_step, float* out,
            std::size_t n) noexcept {
  if (n == 0) return;
  const auto stream = [](const float* p) {
    return [p](std::size_t i, std::size_t count) {
      return count == kLanes ? load(p + i) : load_partial(p + i, count, 1.0f);
    };
  };
  const auto constant = [](const float* p) { return [v = VecF(*p)](std::size_t, std::size_t) { return v; }; };
  if (a_step == 0 && b_step == 0)
    binary_loop<Op>(constant(a), constant(b), out, n);
  else if (a_step == 0)
    binary_loop<Op>(constant(a), stream(b), out, n);
  else if (b_step == 0)
    binary_loop<Op>(stream(a), constant(b), out, n);
  else
    binary_loop<Op>(stream(a), stream(b), out, n);
}

}  // namespace

extern const ElementwiseKernels elementwise_kernels = {
    .add = binary<Add>,
    .sub = binary<Sub>,
    .mul = binary<Mul>,
    .div = binary<Div>,
    .maximum = binary<Maximum>,
    .minimum = binary<Minimum>,
    .greater = binary<Greater>,
    .greater_equal = binary<GreaterEqual>,
    .equal = binary<Equal>,
    .relu_backward = binary<ReluBackward>,
    .neg = unary<Neg>,
    .abs = unary<Abs>,
    .sign = unary<Sign>,
    .sqrt = unary<Sqrt>,
    .exp = unary<Exp>,
    .log = unary<Log>,
    .relu = unary<Relu>,
    .sigmoid = unary<Sigmoid>,
    .tanh = unary<Tanh>,
    .round = unary<Round>,
};

}  // namespace nibble::NIBBLE_TIER
