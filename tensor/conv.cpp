#include "tensor/conv.h"

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

// A batch of images in memory order C, H, W, N, as the direct kernels want it.
Tensor empty_batch_innermost(const Shape& shape, DType dtype) {
  return empty({shape[1], shape[2], shape[3], shape[0]}, dtype).permute({3, 0, 1, 2});
}

Tensor as_batch_innermost(const Tensor& x) {
  if (x.shape()[0] == 1 || x.strides()[0] == 1) return x;
  Tensor result = empty_batch_innermost(x.shape(), x.dtype());
  result.copy_from(x);
  return result;
}

DirectConv direct_conv(const Tensor& x, const Tensor& y, const Shape& weight, const ConvOptions& o,
                       std::int64_t groups) {
  return {.images = x.size(0),
          .c = weight[1],
          .h = x.size(2),
          .w = x.size(3),
          .k = weight[0] / groups,
          .oh = y.size(2),
          .ow = y.size(3),
          .r = weight[2],
          .s = weight[3],
          .stride_h = o.stride.h,
          .stride_w = o.stride.w,
          .padding_h = o.padding.h,
          .padding_w = o.padding.w,
          .dilation_h = o.dilation.h,
          .dilation_w = o.dilation.w,
          .x_c = x.strides()[1],
          .x_h = x.strides()[2],
          .x_w = x.strides()[3],
          .y_k = y.strides()[1],
          .y_h = y.strides()[2],
          .y_w = y.strides()[3]};
}

std::int64_t packed_size(const DirectConv& conv) {
  return (conv.k + kConvBlock - 1) / kConvBlock * kConvBlock * conv.c * conv.r * conv.s;
}

// Calls f(position in weight [k][c][r][s] given by `strides`, position in the packed weight).
template <class F>
void for_each_weight(const DirectConv& conv, const Strides& strides, F f) {
  for (std::int64_t k = 0; k < conv.k; ++k)
    for (std::int64_t c = 0; c < conv.c; ++c)
      for (std::int64_t r = 0; r < conv.r; ++r)
        for (std::int64_t s = 0; s < conv.s; ++s)
          f(k * strides[0] + c * strides[1] + r * strides[2] + s * strides[3],
            (((k / kConvBlock * conv.r + r) * conv.s + s) * conv.c + c) * kConvBlock + k % kConvBlock);
}

// y = convolution of x with `weight`, of which group g starts at weight.data() + g * group_offset.
void run_direct(const DirectConv& conv, const Tensor& x, const float* weight, const Strides& weight_strides,
                std::int64_t weight_group, const float* bias, Tensor& y, std::int64_t groups) {
  if (y.numel() == 0) return;
  const float* in = x.data<float>();
  float* out = y.mutable_data<float>();
  Tensor packed = zeros({packed_size(conv)});
  for (std::int64_t g = 0; g < groups; ++g) {
    float* const w = packed.mutable_data<float>();
    for_each_weight(conv, weight_strides,
                    [&](std::int64_t from, std::int64_t to) { w[to] = weight[g * weight_group + from]; });
    parallel_for(conv.oh, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row)
        conv_kernels().forward(conv, in + g * conv.c * conv.x_c, w,
                               bias == nullptr ? nullptr : bias + g * conv.k, out + g * conv.k * conv.y_k,
                               row);
    });
  }
}

reference::ConvGeometry geometry(const Tensor& x, const Tensor& y, const Shape& weight,
                                 const Strides& weight_strides, const ConvOptions& o) {
  reference::ConvGeometry g{.n = x.size(0),
                            .groups = o.groups,
                            .c = weight[1],
                            .h = x.size(2),
                            .w = x.size(3),
                            .k = weight[0] / o.groups,
                            .oh = y.size(2),
                            .ow = y.size(3),
                            .r = weight[2],
                            .s = weight[3],
                            .stride_h = o.stride.h,
                            .stride_w = o.stride.w,
                            .padding_h = o.padding.h,
                            .padding_w = o.padding.w,
                            .dilation_h = o.dilation.h,
                            .dilation_w = o.dilation.w,
                            .x_stride = {},
                            .y_stride = {},
                            .weight_stride = {}};
  for (int i = 0; i < 4; ++i) {
    g.x_stride[i] = x.strides()[i];
    g.y_stride[i] = y.strides()[i];
    g.weight_stride[i] = weight_strides[i];
  }
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

Tensor conv2d(const Tensor& input, const Tensor& weight, const Tensor& bias, const ConvOptions& options) {
  check_dtypes("conv2d", input, weight);
  const Shape shape = conv2d_shape(input.shape(), weight.shape(), options);
  if (bias.defined()) {
    check_dtypes("conv2d", input, bias);
    NIBBLE_CHECK(bias.shape() == Shape{shape[1]}, "conv2d: bias has shape ", bias.shape(), ", expected ",
                 Shape{shape[1]});
  }
  const Tensor dense_bias = bias.defined() ? bias.contiguous() : bias;
  if (input.dtype() == DType::float32) {
    const Tensor x = as_batch_innermost(input);
    Tensor y = empty_batch_innermost(shape, DType::float32);
    run_direct(direct_conv(x, y, weight.shape(), options, options.groups), x, weight.data<float>(),
               weight.strides(), weight.shape()[0] / options.groups * weight.strides()[0],
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
  if (grad_out.dtype() == DType::float32 && options.stride == Size2(1)) {
    // With stride 1 it is a convolution of the gradient with the kernel turned by 180 degrees and its
    // channels exchanged; its padding may be negative.
    const Tensor grad = as_batch_innermost(grad_out);
    Tensor grad_x = empty_batch_innermost(x_shape, DType::float32);
    const std::int64_t k = weight.size(0) / options.groups, c = weight.size(1), r = weight.size(2),
                       s = weight.size(3);
    ConvOptions turned = options;
    turned.padding = {options.dilation.h * (r - 1) - options.padding.h,
                      options.dilation.w * (s - 1) - options.padding.w};
    const Strides& w = weight.strides();
    const float* last_tap = weight.data<float>() + (r - 1) * w[2] + (s - 1) * w[3];
    run_direct(direct_conv(grad, grad_x, {c * options.groups, k, r, s}, turned, options.groups), grad,
               last_tap, {w[1], w[0], -w[2], -w[3]}, k * w[0], nullptr, grad_x, options.groups);
    return grad_x;
  }
  Tensor grad_x = grad_out.dtype() == DType::float32 ? empty_batch_innermost(x_shape, DType::float32)
                                                     : empty(x_shape, DType::float64);
  grad_x.fill(0);
  const auto g = geometry(grad_x, grad_out, weight.shape(), weight.strides(), options);
  visit(grad_out.dtype(), [&](auto type) {
    using T = decltype(type);
    T* out = grad_x.mutable_data<T>();
    const T *grad = grad_out.data<T>(), *w = weight.data<T>();
    parallel_for(shape[0], 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin * shape[1]; i < end * shape[1]; ++i)
        for_each_product(g, i / shape[1], i % shape[1], [&](std::int64_t a, std::int64_t b, std::int64_t c) {
          out[a] = static_cast<T>(out[a] + grad[b] * w[c]);
        });
    });
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
  if (grad_out.numel() == 0) return grad_weight;
  if (input.dtype() == DType::float32) {
    const Tensor x = as_batch_innermost(input);
    const Tensor grad = as_batch_innermost(grad_out);
    const DirectConv conv = direct_conv(x, grad, weight_shape, options, options.groups);
    const std::int64_t size = packed_size(conv);
    // Rows are split into a number of chunks that depends on the shape alone.
    const std::int64_t chunks = std::min<std::int64_t>(conv.oh, 8);
    Tensor sums = empty({chunks, size * kConvLanes});
    Tensor packed = empty({size});
    const Strides strides = grad_weight.strides();
    for (std::int64_t g = 0; g < options.groups; ++g) {
      sums.fill(0);
      float* const sum = sums.mutable_data<float>();
      parallel_for(chunks, 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t chunk = begin; chunk < end; ++chunk)
          conv_kernels().backward_weight(
              conv, x.data<float>() + g * conv.c * conv.x_c, grad.data<float>() + g * conv.k * conv.y_k,
              sum + chunk * size * kConvLanes, conv.oh * chunk / chunks, conv.oh * (chunk + 1) / chunks);
      });
      float* const total = packed.mutable_data<float>();
      conv_kernels().reduce_sums(sum, chunks, size * kConvLanes, total, size);
      float* const out = grad_weight.mutable_data<float>() + g * conv.k * strides[0];
      for_each_weight(conv, strides, [&](std::int64_t to, std::int64_t from) { out[to] = total[from]; });
    }
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
