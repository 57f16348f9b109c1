#include "tensor/matmul.h"

#include "tensor/factory.h"
#include "tensor/gemm.h"
#include "tensor/kernels/reference.h"

namespace nibble {
namespace {

void check_operands(const char* name, const Tensor& a, const Tensor& b) {
  NIBBLE_CHECK(a.defined() && b.defined(), name, ": undefined tensor");
  NIBBLE_CHECK(a.dtype() == b.dtype(), name, ": dtypes ", a.dtype(), " and ", b.dtype(), " differ");
  NIBBLE_CHECK(is_floating_point(a.dtype()), name, ": dtype ", a.dtype(), ", expected float32 or float64");
}

// c[m, n] = a[m, k] b[k, n], plus bias[n] unless it is undefined.
void product(const Tensor& a, const Tensor& b, Tensor& c, const Tensor& bias = {}) {
  const std::int64_t m = a.size(0), n = b.size(1), k = a.size(1);
  const Strides &sa = a.strides(), &sb = b.strides(), &sc = c.strides();
  if (a.dtype() == DType::float32) {
    const Tensor dense_bias = bias.defined() ? bias.contiguous() : bias;
    gemm(m, n, k, {a.data<float>(), sa[0], sa[1]}, {b.data<float>(), sb[0], sb[1]},
         {c.mutable_data<float>(), sc[0], sc[1]},
         {.col_bias = bias.defined() ? dense_bias.data<float>() : nullptr});
  } else {
    if (bias.defined()) c.copy_from(bias);
    reference::gemm(m, n, k, a.data<double>(), sa[0], sa[1], b.data<double>(), sb[0], sb[1],
                    c.mutable_data<double>(), sc[0], sc[1], bias.defined());
  }
}

Tensor empty_matrix(std::int64_t m, std::int64_t n, DType dtype, bool rows_innermost) {
  return rows_innermost ? empty({n, m}, dtype).transpose(0, 1) : empty({m, n}, dtype);
}

bool rows_innermost(const Tensor& x) { return x.size(0) > 1 && x.strides()[0] == 1 && x.strides()[1] != 1; }

Tensor flat_rows(const Tensor& x) {
  std::int64_t rows = 1;
  for (int i = 0; i < x.rank() - 1; ++i) rows *= x.size(i);
  return x.rank() == 2 ? x : x.reshape({rows, x.size(-1)});
}

Shape with_last(const Shape& shape, std::int64_t last) {
  Shape result = shape;
  result[shape.rank() - 1] = last;
  return result;
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  check_operands("matmul", a, b);
  NIBBLE_CHECK(a.rank() >= 2 && b.rank() >= 2, "matmul: shapes ", a.shape(), " and ", b.shape(),
               ", expected rank 2 or more");
  const std::int64_t m = a.size(-2), n = b.size(-1), k = a.size(-1);
  NIBBLE_CHECK(k == b.size(-2), "matmul: inner sizes differ: ", a.shape(), " x ", b.shape());
  const auto leading = [](const Tensor& x) {
    return Shape(std::span(x.shape().begin(), static_cast<std::size_t>(x.rank() - 2)));
  };
  const Shape batch = broadcast_shapes("matmul", leading(a), leading(b));
  const int rank = batch.rank();
  const auto with_matrix = [&](std::int64_t rows, std::int64_t cols) {
    return batch.inserted(rank, rows).inserted(rank + 1, cols);
  };
  Tensor c = empty(with_matrix(m, n), a.dtype());
  if (rank == 0) {
    product(a, b, c);
    return c;
  }
  const Tensor wide_a = a.broadcast_to(with_matrix(m, k)), wide_b = b.broadcast_to(with_matrix(k, n));
  for (std::int64_t i = 0; i < batch.numel(); ++i) {
    Tensor ai = wide_a, bi = wide_b, ci = c;
    std::int64_t rest = i;
    for (int d = rank - 1; d >= 0; --d) {
      const std::int64_t index = rest % batch[d];
      rest /= batch[d];
      ai = ai.select(d, index), bi = bi.select(d, index), ci = ci.select(d, index);
    }
    product(ai, bi, ci);
  }
  return c;
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  check_operands("linear", x, weight);
  NIBBLE_CHECK(weight.rank() == 2 && x.rank() >= 1 && x.size(-1) == weight.size(1), "linear: weight ",
               weight.shape(), " does not fit input ", x.shape());
  if (bias.defined()) {
    check_operands("linear", x, bias);
    NIBBLE_CHECK(bias.shape() == Shape{weight.size(0)}, "linear: bias ", bias.shape(),
                 " does not fit weight ", weight.shape());
  }
  const std::int64_t out = weight.size(0);
  const Tensor rows = flat_rows(x);
  Tensor y = empty_matrix(rows.size(0), out, x.dtype(), rows_innermost(rows));
  product(rows, weight.transpose(0, 1), y, bias);
  return x.rank() == 2 ? y : y.reshape(with_last(x.shape(), out));
}

Tensor linear_backward_input(const Tensor& grad_out, const Tensor& weight) {
  check_operands("linear_backward_input", grad_out, weight);
  NIBBLE_CHECK(weight.rank() == 2 && grad_out.rank() >= 1 && grad_out.size(-1) == weight.size(0),
               "linear_backward_input: weight ", weight.shape(), " does not fit gradient ", grad_out.shape());
  const Tensor rows = flat_rows(grad_out);
  Tensor grad = empty_matrix(rows.size(0), weight.size(1), weight.dtype(), rows_innermost(rows));
  product(rows, weight, grad);
  return grad_out.rank() == 2 ? grad : grad.reshape(with_last(grad_out.shape(), weight.size(1)));
}

Tensor linear_backward_weight(const Tensor& grad_out, const Tensor& x) {
  check_operands("linear_backward_weight", grad_out, x);
  NIBBLE_CHECK(x.rank() >= 1 && grad_out.rank() == x.rank() &&
                   with_last(grad_out.shape(), 1) == with_last(x.shape(), 1),
               "linear_backward_weight: gradient ", grad_out.shape(), " does not fit input ", x.shape());
  const Tensor g = flat_rows(grad_out), rows = flat_rows(x);
  Tensor grad = empty({g.size(1), rows.size(1)}, x.dtype());
  product(g.transpose(0, 1), rows, grad);
  return grad;
}

}  // namespace nibble
