#include "tensor/conv.h"

#include <algorithm>
#include <numeric>

#include "tensor/conv_rows.h"
#include "tensor/divide_up.h"
#include "tensor/factory.h"
#include "tensor/kernels/conv.h"
#include "tensor/kernels/conv_reference.h"
#include "tensor/loop.h"
#include "tensor/reduce.h"

namespace nibble {

std::ostream& operator<<(std::ostream& out, Size2 size) { return out << size.h << "x" << size.w; }

namespace {

std::int64_t output_size(std::int64_t in, std::int64_t padding, std::int64_t dilation, std::int64_t window,
                         std::int64_t stride) {
  return (in + 2 * padding - dilation * (window - 1) - 1) / stride + 1;
}

void check_dtypes(const char* op, const Tensor& a, const Tensor& b) {
  NIBBLE_CHECK(a.defined() && b.defined(), op, ": undefined tensor");
  NIBBLE_CHECK(is_floating_point(a.dtype()), op, ": dtype ", a.dtype(), ", expected float32 or float64");
  NIBBLE_CHECK(a.dtype() == b.dtype(), op, ": dtypes ", a.dtype(), " and ", b.dtype(), " differ");
}

// In the memory order the direct kernels want it in; for a few images N, H, W, C.
Tensor empty_result(const Shape& shape) {
  if (shape[0] >= kFewImages) return empty_batch_innermost(shape, DType::float32);
  return empty({shape[0], shape[2], shape[3], shape[1]}).permute({0, 3, 1, 2});
}

// Any strides will do where the images go one by one.
Tensor as_operand(const Tensor& x) { return x.size(0) < kFewImages ? x : as_batch_innermost(x); }

// The view of positions first, first + step, ... of dimension `dim`.
Tensor every(const Tensor& x, int dim, std::int64_t first, std::int64_t step) {
  if (step == 1) return x;
  Shape shape = x.shape();
  Strides strides = x.strides();
  shape[dim] = divide_up(x.size(dim) - first, step);
  const Tensor from = x.narrow(dim, first, x.size(dim) - first);
  strides[dim] *= step;
  return Tensor(x.storage(), shape, strides, from.offset(), x.dtype());
}

// y = convolution of x with `weight`, of which group g starts at weight + g * weight_group. Only the direct
// method adds a bias.
void convolve(ConvMethod method, const DirectConv& conv, const Tensor& x, const float* weight,
              const Strides& weight_strides, std::int64_t weight_group, const float* bias, Tensor& y,
              std::int64_t groups) {
  if (y.numel() == 0) return;
  const float* const in = x.data<float>();
  float* const out = y.mutable_data<float>();
  if (conv.images >= kFewImages) {
    const ConvRows rows(method, conv, weight, weight_strides, weight_group, bias, groups);
    parallel_for(conv.oh, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) rows.run(in, out, row, conv.images);
    });
    return;
  }
  const std::int64_t k = divide_up(conv.k, kConvLanes) * kConvLanes;
  Tensor packed = zeros({conv.r, conv.s, conv.c, k});
  float* const w = packed.mutable_data<float>();
  for (std::int64_t g = 0; g < groups; ++g) {
    for_each_weight(conv, weight_strides,
                    [&](std::int64_t from, std::int64_t i, std::int64_t c, std::int64_t r, std::int64_t s) {
                      w[((r * conv.s + s) * conv.c + c) * k + i] = weight[g * weight_group + from];
                    });
    const float* const b = bias == nullptr ? nullptr : bias + g * conv.k;
    parallel_for(conv.images, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        conv_kernels().forward_image(conv, in + i * x.strides()[0] + g * conv.c * conv.x_c, w, b,
                                     out + i * y.strides()[0] + g * conv.k * conv.y_k);
    });
  }
}

// The taps of one axis that reach input positions `phase`, phase + stride, ...: first, first + step, ...
struct Phase {
  std::int64_t first, step, taps;
  std::int64_t dilation, padding;  // as an axis of a convolution of the gradient, with its taps turned around
};

Phase phase_of(std::int64_t phase, std::int64_t taps, std::int64_t stride, std::int64_t padding,
               std::int64_t dilation) {
  Phase p{taps, stride / std::gcd(stride, dilation), 0, 0, 0};
  for (std::int64_t tap = std::min(taps, p.step); tap-- > 0;)
    if ((phase + padding - tap * dilation) % stride == 0) p.first = tap;
  if (p.first == taps) return p;
  p.taps = divide_up(taps - p.first, p.step);
  p.dilation = p.step * dilation / stride;
  p.padding = (p.taps - 1) * p.dilation - (phase + padding - p.first * dilation) / stride;
  return p;
}

// The input positions of one phase (i mod stride, in both axes) are a convolution with stride 1 of the
// gradient with those taps of the kernel that reach them, turned by 180 degrees, channels exchanged. Its
// padding may be negative.
void backward_input_direct(const Tensor& grad, const Tensor& weight, Tensor& grad_x, const ConvOptions& o) {
  const std::int64_t groups = o.groups, k = weight.size(0) / groups, c = weight.size(1);
  const Strides& w = weight.strides();
  for (std::int64_t a = 0; a < std::min(o.stride.h, grad_x.size(2)); ++a) {
    for (std::int64_t b = 0; b < std::min(o.stride.w, grad_x.size(3)); ++b) {
      const Phase h = phase_of(a, weight.size(2), o.stride.h, o.padding.h, o.dilation.h);
      const Phase v = phase_of(b, weight.size(3), o.stride.w, o.padding.w, o.dilation.w);
      Tensor part = every(every(grad_x, 2, a, o.stride.h), 3, b, o.stride.w);
      if (h.taps == 0 || v.taps == 0) {
        part.fill(0);
        continue;
      }
      const ConvOptions turned{1, {h.padding, v.padding}, {h.dilation, v.dilation}, groups};
      const std::int64_t last_h = h.first + (h.taps - 1) * h.step, last_w = v.first + (v.taps - 1) * v.step;
      const DirectConv conv =
          direct_conv(grad, part.shape(), part.strides(), {c * groups, k, h.taps, v.taps}, turned);
      convolve(conv_gradient_method(conv), conv, grad, weight.data<float>() + last_h * w[2] + last_w * w[3],
               {w[1], w[0], -h.step * w[2], -v.step * w[3]}, k * w[0], nullptr, part, groups);
    }
  }
}

// Image after image. A task has a few input channels of a group.
void backward_weight_one_by_one(const Tensor& x, const Tensor& grad_out, Tensor& grad_weight,
                                const ConvOptions& o) {
  constexpr std::int64_t kChannels = 4, kWorkPerTask = 1 << 18;  // multiplications
  const Tensor grad = grad_out.permute({0, 2, 3, 1}).contiguous().permute({0, 3, 1, 2});
  const DirectConv conv = direct_conv(x, grad.shape(), grad.strides(), grad_weight.shape(), o);
  const std::int64_t blocks = divide_up(conv.c, kChannels), k = divide_up(conv.k, kConvLanes) * kConvLanes;
  const std::int64_t work = conv.images * conv.oh * conv.ow * conv.r * conv.s * kChannels * k;
  float* const out = grad_weight.mutable_data<float>();
  const Strides& strides = grad_weight.strides();
  parallel_for(o.groups * blocks, divide_up(kWorkPerTask, work), [&](std::int64_t begin, std::int64_t end) {
    Tensor sums = empty({conv.r, kChannels, conv.s, k});
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t group = task / blocks, c = task % blocks * kChannels;
      DirectConv part = conv;
      part.c = std::min(kChannels, conv.c - c);
      sums.fill(0);
      float* const sum = sums.mutable_data<float>();
      for (std::int64_t i = 0; i < conv.images; ++i)
        conv_kernels().backward_weight_image(
            part, x.data<float>() + i * x.strides()[0] + (group * conv.c + c) * conv.x_c,
            grad.data<float>() + i * grad.strides()[0] + group * conv.k, sum);
      for_each_weight(part, strides,
                      [&](std::int64_t to, std::int64_t j, std::int64_t ch, std::int64_t r, std::int64_t s) {
                        out[group * conv.k * strides[0] + c * strides[1] + to] =
                            sum[((r * part.c + ch) * conv.s + s) * k + j];
                      });
    }
  });
}

// Every element of the weight gradient is summed up by one task: a few channels of a group and a run of rows,
// cut by a rule that knows the shape alone. Where there are too few channels for all threads the rows are
// split as well, and added in order.
void backward_weight_batch(const DirectConv& conv, const Tensor& x, const Tensor& grad, Tensor& grad_weight,
                           std::int64_t groups) {
  constexpr std::int64_t kTasks = 16;
  ConvWeightSums sums(conv, groups);
  const std::int64_t blocks = sums.blocks();
  const std::int64_t chunks = std::clamp<std::int64_t>(kTasks / blocks, 1, conv.oh);
  sums.begin(chunks);
  const float *const in = x.data<float>(), *const upstream = grad.data<float>();
  parallel_for(chunks * blocks, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t task = begin; task < end; ++task) {
      const std::int64_t chunk = task / blocks;
      sums.run(chunk, task % blocks, in, upstream, conv.oh * chunk / chunks, conv.oh * (chunk + 1) / chunks);
    }
  });
  sums.write_to(grad_weight);
}

reference::ConvGeometry geometry(const Tensor& x, const Tensor& y, const Shape& weight,
                                 const Strides& weight_strides, const ConvOptions& o) {
  reference::ConvGeometry g{direct_conv(x, y.shape(), y.strides(), weight, o), {}, {}, {}};
  std::copy_n(x.strides().begin(), 4, g.x_stride);
  std::copy_n(y.strides().begin(), 4, g.y_stride);
  std::copy_n(weight_strides.begin(), 4, g.weight_stride);
  return g;
}

}  // namespace

Shape conv2d_shape(const Shape& x, const Shape& weight, const ConvOptions& o) {
  NIBBLE_CHECK(x.rank() == 4, "conv2d: input has shape ", x, ", expected [N, C, H, W]");
  NIBBLE_CHECK(weight.rank() == 4, "conv2d: weight has shape ", weight, ", expected [K, C/groups, R, S]");
  NIBBLE_CHECK(o.groups >= 1 && x[1] % o.groups == 0 && weight[0] % o.groups == 0, "conv2d: ", o.groups,
               " groups do not divide ", x[1], " input and ", weight[0], " output channels");
  NIBBLE_CHECK(weight[1] * o.groups == x[1], "conv2d: weight has ", weight[1] * o.groups,
               " input channels, input has ", x[1]);
  NIBBLE_CHECK(o.stride.h >= 1 && o.stride.w >= 1, "conv2d: stride ", o.stride, ", expected at least 1");
  NIBBLE_CHECK(o.dilation.h >= 1 && o.dilation.w >= 1, "conv2d: dilation ", o.dilation,
               ", expected at least 1");
  NIBBLE_CHECK(o.padding.h >= 0 && o.padding.w >= 0, "conv2d: padding ", o.padding, ", expected at least 0");
  NIBBLE_CHECK(weight[2] >= 1 && weight[3] >= 1, "conv2d: weight has shape ", weight, ", expected a window");
  NIBBLE_CHECK(x[2] + 2 * o.padding.h >= o.dilation.h * (weight[2] - 1) + 1 &&
                   x[3] + 2 * o.padding.w >= o.dilation.w * (weight[3] - 1) + 1,
               "conv2d: window ", Size2(weight[2], weight[3]), " with dilation ", o.dilation,
               " is larger than input ", Size2(x[2], x[3]), " with padding ", o.padding);
  return {x[0], weight[0], output_size(x[2], o.padding.h, o.dilation.h, weight[2], o.stride.h),
          output_size(x[3], o.padding.w, o.dilation.w, weight[3], o.stride.w)};
}

Shape check_conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias,
                   const ConvOptions& options) {
  check_dtypes("conv2d", input, weight);
  const Shape shape = conv2d_shape(input.shape(), weight.shape(), options);
  if (bias.defined()) {
    check_dtypes("conv2d", input, bias);
    NIBBLE_CHECK(bias.shape() == Shape{shape[1]}, "conv2d: bias has shape ", bias.shape(), ", expected ",
                 Shape{shape[1]});
  }
  return shape;
}

Tensor conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias, const ConvOptions& options) {
  const Shape shape = check_conv2d(input, weight, bias, options);
  const Tensor dense_bias = bias.defined() ? bias.contiguous() : bias;
  if (input.dtype() == DType::float32) {
    const Tensor x = as_operand(input);
    Tensor y = empty_result(shape);
    convolve(ConvMethod::direct, direct_conv(x, shape, y.strides(), weight.shape(), options), x,
             weight.data<float>(), weight.strides(), weight.shape()[0] / options.groups * weight.strides()[0],
             bias.defined() ? dense_bias.data<float>() : nullptr, y, options.groups);
    return y;
  }
  Tensor y = zeros(shape, DType::float64);
  if (bias.defined()) y.copy_from(bias.reshape({shape[1], 1, 1}));
  const auto g = geometry(input, y, weight.shape(), weight.strides(), options);
  double* out = y.mutable_data<double>();
  const double *x = input.data<double>(), *w = weight.data<double>();
  parallel_for(shape[0] * shape[1], 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      for_each_product(g, i / shape[1], i % shape[1],
                       [&](std::int64_t a, std::int64_t b, std::int64_t c) { out[b] += x[a] * w[c]; });
  });
  return y;
}

Tensor conv2d_backward_input(const Tensor& grad_out, const Tensor& weight, const Shape& x_shape,
                             const ConvOptions& options) {
  check_dtypes("conv2d_backward_input", grad_out, weight);
  const Shape shape = conv2d_shape(x_shape, weight.shape(), options);
  NIBBLE_CHECK(grad_out.shape() == shape, "conv2d_backward_input: gradient has shape ", grad_out.shape(),
               ", expected ", shape);
  if (grad_out.dtype() == DType::float32) {
    const Tensor grad = as_operand(grad_out);
    Tensor grad_x = empty_result(x_shape);
    if (weight.numel() == 0)
      grad_x.fill(0);
    else
      backward_input_direct(grad, weight, grad_x, options);
    return grad_x;
  }
  Tensor grad_x = zeros(x_shape, DType::float64);
  const auto g = geometry(grad_x, grad_out, weight.shape(), weight.strides(), options);
  double* out = grad_x.mutable_data<double>();
  const double *grad = grad_out.data<double>(), *w = weight.data<double>();
  parallel_for(shape[0], 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin * shape[1]; i < end * shape[1]; ++i)
      for_each_product(g, i / shape[1], i % shape[1],
                       [&](std::int64_t a, std::int64_t b, std::int64_t c) { out[a] += grad[b] * w[c]; });
  });
  return grad_x;
}

Tensor conv2d_backward_weight(const Tensor& grad_out, const Tensor& input, const Shape& weight_shape,
                              const ConvOptions& options) {
  check_dtypes("conv2d_backward_weight", grad_out, input);
  const Shape shape = conv2d_shape(input.shape(), weight_shape, options);
  NIBBLE_CHECK(grad_out.shape() == shape, "conv2d_backward_weight: gradient has shape ", grad_out.shape(),
               ", expected ", shape);
  Tensor grad_weight = zeros(weight_shape, input.dtype());
  if (grad_out.numel() == 0 || grad_weight.numel() == 0) return grad_weight;
  if (input.dtype() == DType::float32) {
    if (shape[0] < kFewImages) {
      backward_weight_one_by_one(input, grad_out, grad_weight, options);
      return grad_weight;
    }
    const Tensor x = as_batch_innermost(input);
    const Tensor grad = as_batch_innermost(grad_out);
    const DirectConv conv = direct_conv(x, shape, grad.strides(), weight_shape, options);
    backward_weight_batch(conv, x, grad, grad_weight, options.groups);
    return grad_weight;
  }
  const auto g = geometry(input, grad_out, weight_shape, grad_weight.strides(), options);
  double* out = grad_weight.mutable_data<double>();
  const double *x = input.data<double>(), *grad = grad_out.data<double>();
  parallel_for(shape[1], 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t channel = begin; channel < end; ++channel)
      for (std::int64_t image = 0; image < shape[0]; ++image)
        for_each_product(g, image, channel,
                         [&](std::int64_t a, std::int64_t b, std::int64_t c) { out[c] += x[a] * grad[b]; });
  });
  return grad_weight;
}

Tensor conv2d_backward_bias(const Tensor& grad_out) {
  NIBBLE_CHECK(grad_out.defined() && grad_out.rank() == 4, "conv2d_backward_bias: expected [N, K, OH, OW]");
  return sum(grad_out, {0, 2, 3});
}

}  // namespace nibble
