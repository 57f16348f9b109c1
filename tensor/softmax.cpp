#include "tensor/softmax.h"

#include "tensor/kernels/reference.h"
#include "tensor/kernels/softmax.h"
#include "tensor/layout.h"
#include "tensor/loop.h"

namespace nibble {
namespace {

// Calls line(offset) for the first element of every line along `dim` in a dense tensor, or across(offset,
// lines) for lines that lie side by side.
template <class LineFunction, class Across>
void for_each_line(const Tensor& dense, int dim, LineFunction line, Across across) {
  const auto loop = make_line_loop<1>(dense.shape(), {dense.strides()}, dim);
  const bool side_by_side = loop.step[0] == 1;
  for_each_row(loop, [&](const auto& at, std::int64_t lines) {
    if (side_by_side)
      across(at[0], static_cast<std::size_t>(lines));
    else
      for (std::int64_t i = 0; i < lines; ++i) line(at[0] + i * loop.step[0]);
  });
}

void check_dtype(const char* name, DType dtype) {
  NIBBLE_CHECK(is_floating_point(dtype), name, ": dtype ", dtype, ", expected float32 or float64");
}

template <class Reference>
Tensor forward(const char* name, const Tensor& x, int dim, const SoftmaxKernels::Forward& kernel,
               Reference reference) {
  NIBBLE_CHECK(x.defined(), name, ": undefined tensor");
  check_dtype(name, x.dtype());
  dim = normalize_dim(name, dim, x.rank());
  Tensor out = empty_in_layout_of(x);
  if (out.numel() == 0) return out;
  const Tensor source = with_strides(x, out.strides());
  const std::int64_t n = x.size(dim), step = out.strides()[dim];
  if (x.dtype() == DType::float32) {
    const float* const in = source.data<float>();
    float* const y = out.mutable_data<float>();
    const std::size_t count = static_cast<std::size_t>(n);
    for_each_line(
        out, dim, [&](std::int64_t at) { kernel.along(in + at, y + at, count); },
        [&](std::int64_t at, std::size_t lines) {
          kernel.across(in + at, y + at, static_cast<std::size_t>(step), lines, count);
        });
  } else {
    const double* const in = source.data<double>();
    double* const y = out.mutable_data<double>();
    const auto line = [&](std::int64_t at) { reference(in + at, step, y + at, step, n); };
    for_each_line(out, dim, line, [&](std::int64_t at, std::size_t lines) {
      for (std::size_t i = 0; i < lines; ++i) line(at + static_cast<std::int64_t>(i));
    });
  }
  return out;
}

template <class Reference>
Tensor backward(const char* name, const Tensor& grad, const Tensor& y, int dim,
                const SoftmaxKernels::Backward& kernel, Reference reference) {
  NIBBLE_CHECK(grad.defined() && y.defined(), name, ": undefined tensor");
  NIBBLE_CHECK(grad.shape() == y.shape() && grad.dtype() == y.dtype(), name, ": gradient is ", grad.dtype(),
               grad.shape(), ", result is ", y.dtype(), y.shape());
  check_dtype(name, y.dtype());
  dim = normalize_dim(name, dim, y.rank());
  Tensor out = empty_in_layout_of(y);
  if (out.numel() == 0) return out;
  const Tensor dense_grad = with_strides(grad, out.strides()), dense_y = with_strides(y, out.strides());
  const std::int64_t n = y.size(dim), step = out.strides()[dim];
  if (y.dtype() == DType::float32) {
    const float *const g = dense_grad.data<float>(), *const v = dense_y.data<float>();
    float* const o = out.mutable_data<float>();
    const std::size_t count = static_cast<std::size_t>(n);
    for_each_line(
        out, dim, [&](std::int64_t at) { kernel.along(g + at, v + at, o + at, count); },
        [&](std::int64_t at, std::size_t lines) {
          kernel.across(g + at, v + at, o + at, static_cast<std::size_t>(step), lines, count);
        });
  } else {
    const double *const g = dense_grad.data<double>(), *const v = dense_y.data<double>();
    double* const o = out.mutable_data<double>();
    const auto line = [&](std::int64_t at) { reference(g + at, step, v + at, step, o + at, step, n); };
    for_each_line(out, dim, line, [&](std::int64_t at, std::size_t lines) {
      for (std::size_t i = 0; i < lines; ++i) line(at + static_cast<std::int64_t>(i));
    });
  }
  return out;
}

}  // namespace

Tensor softmax(const Tensor& x, int dim) {
  return forward("softmax", x, dim, softmax_kernels().softmax, reference::softmax<double>);
}
Tensor log_softmax(const Tensor& x, int dim) {
  return forward("log_softmax", x, dim, softmax_kernels().log_softmax, reference::log_softmax<double>);
}
Tensor softmax_backward(const Tensor& grad_out, const Tensor& y, int dim) {
  return backward("softmax_backward", grad_out, y, dim, softmax_kernels().softmax_backward,
                  reference::softmax_backward<double>);
}
Tensor log_softmax_backward(const Tensor& grad_out, const Tensor& y, int dim) {
  return backward("log_softmax_backward", grad_out, y, dim, softmax_kernels().log_softmax_backward,
                  reference::log_softmax_backward<double>);
}

}  // namespace nibble
