#include "tensor/pool.h"

#include <limits>

#include "tensor/divide_up.h"
#include "tensor/factory.h"
#include "tensor/layout.h"
#include "tensor/loop.h"
#include "tensor/pool_rows.h"

namespace nibble {
namespace {

// The dimension along which elements lie next to each other, images (0) or channels (1); 3 for rows.
int innermost(const Tensor& x) {
  if (x.strides()[0] == 1 && x.size(0) > 1) return 0;
  return x.strides()[1] == 1 && x.size(1) > 1 ? 1 : 3;
}

// Same memory order as the input, so that what follows stays in it.
Tensor empty_in_order_of(const Tensor& x, const Shape& shape, DType dtype) {
  switch (innermost(x)) {
    case 0:
      return empty({shape[1], shape[2], shape[3], shape[0]}, dtype).permute({3, 0, 1, 2});
    case 1:
      return empty({shape[0], shape[2], shape[3], shape[1]}, dtype).permute({0, 3, 1, 2});
    default:
      return empty(shape, dtype);
  }
}

// PyTorch's pooling_output_shape: with ceil_mode the last window must still start inside the input or its
// left padding.
std::int64_t output_size(std::int64_t in, std::int64_t window, std::int64_t padding, std::int64_t stride,
                         std::int64_t dilation, bool ceil_mode) {
  const std::int64_t room = in + 2 * padding - dilation * (window - 1) - 1 + (ceil_mode ? stride - 1 : 0);
  std::int64_t out = room / stride + 1;
  if (ceil_mode && (out - 1) * stride >= in + padding) --out;
  return out;
}

struct Window {
  Size2 kernel, stride, padding, dilation;
  Shape shape;  // of the result
};

Window check(const char* op, const Shape& x, Size2 kernel, const PoolOptions& o) {
  NIBBLE_CHECK(x.rank() == 4, op, ": input has shape ", x, ", expected [N, C, H, W]");
  const Size2 stride = pool_stride(kernel, o);
  NIBBLE_CHECK(kernel.h >= 1 && kernel.w >= 1, op, ": kernel ", kernel, ", expected at least 1");
  NIBBLE_CHECK(stride.h >= 1 && stride.w >= 1, op, ": stride ", stride, ", expected at least 1");
  NIBBLE_CHECK(o.dilation.h >= 1 && o.dilation.w >= 1, op, ": dilation ", o.dilation,
               ", expected at least 1");
  NIBBLE_CHECK(
      o.padding.h >= 0 && o.padding.w >= 0 && o.padding.h * 2 <= kernel.h && o.padding.w * 2 <= kernel.w, op,
      ": padding ", o.padding, ", expected at most half the kernel ", kernel);
  NIBBLE_CHECK(x[2] + 2 * o.padding.h >= o.dilation.h * (kernel.h - 1) + 1 &&
                   x[3] + 2 * o.padding.w >= o.dilation.w * (kernel.w - 1) + 1,
               op, ": window ", kernel, " is larger than input ", Size2(x[2], x[3]), " with padding ",
               o.padding);
  return {kernel, stride, o.padding, o.dilation,
          Shape{x[0], x[1], output_size(x[2], kernel.h, o.padding.h, stride.h, o.dilation.h, o.ceil_mode),
                output_size(x[3], kernel.w, o.padding.w, stride.w, o.dilation.w, o.ceil_mode)}};
}

void check_dtype(const char* op, const Tensor& x) {
  NIBBLE_CHECK(x.defined() && is_floating_point(x.dtype()), op, ": expected float32 or float64");
}

constexpr std::int64_t kElementsPerThread = 1 << 14;  // of the input

// Calls f(rows of the output, plane) in parallel. Threads share the rows, not the planes, as they do in
// convolutions: then most of what one reads is in its own cache. Where rows do not come out even, one of
// them is shared by planes.
template <class F>
void for_rows_of_planes(const DirectPool& pool, std::int64_t planes, F f) {
  const std::int64_t elements = std::max<std::int64_t>(1, pool.ow * pool.r * pool.s * pool.images);
  parallel_for(pool.oh * planes, divide_up(kElementsPerThread, elements),
               [&](std::int64_t begin, std::int64_t end) {
                 DirectPool part = pool;
                 for (std::int64_t plane = 0; plane < planes; ++plane) {
                   part.first_row = begin / planes + (begin % planes > plane);
                   part.end_row = end / planes + (end % planes > plane);
                   if (part.first_row < part.end_row) f(part, plane);
                 }
               });
}

// Calls f(offset of the plane in a, offset of the plane in b) for every image and channel, in parallel.
template <class F>
void for_each_plane(const Tensor& a, const Tensor& b, F f) {
  const std::int64_t channels = a.size(1);
  parallel_for(a.size(0) * channels, 8, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      f(i / channels * a.strides()[0] + i % channels * a.strides()[1],
        i / channels * b.strides()[0] + i % channels * b.strides()[1]);
  });
}

// Whether the kernels take x: several images or channels are adjacent, and positions are exact as floats.
bool is_direct(const Tensor& x) {
  const int inner = innermost(x);
  return x.dtype() == DType::float32 && inner < 2 && x.size(inner) >= 4 && x.size(2) * x.size(3) < (1 << 24);
}

}  // namespace

DirectPool direct_pool(const Shape& x, const Strides& x_strides, const Shape& y, const Strides& y_strides,
                       std::int64_t images, Size2 kernel, const PoolOptions& options) {
  const Size2 stride = pool_stride(kernel, options);
  return {.images = images,
          .h = x[2],
          .w = x[3],
          .oh = y[2],
          .ow = y[3],
          .r = kernel.h,
          .s = kernel.w,
          .stride_h = stride.h,
          .stride_w = stride.w,
          .padding_h = options.padding.h,
          .padding_w = options.padding.w,
          .dilation_h = options.dilation.h,
          .dilation_w = options.dilation.w,
          .x_h = x_strides[2],
          .x_w = x_strides[3],
          .y_h = y_strides[2],
          .y_w = y_strides[3],
          .relu = options.relu,
          .first_row = 0,
          .end_row = 0};
}

Shape pool2d_shape(const char* op, const Shape& x, Size2 kernel, const PoolOptions& options) {
  return check(op, x, kernel, options).shape;
}

MaxPoolResult max_pool2d(const Tensor& x, Size2 kernel, const PoolOptions& options) {
  check_dtype("max_pool2d", x);
  const Window p = check("max_pool2d", x.shape(), kernel, options);
  MaxPoolResult result{empty_in_order_of(x, p.shape, x.dtype()), empty_in_order_of(x, p.shape, DType::int32)};
  if (result.values.numel() == 0) return result;
  std::int32_t* const indices = result.indices.mutable_data<std::int32_t>();
  if (is_direct(x)) {
    const DirectPool pool = direct_pool(x.shape(), x.strides(), p.shape, result.values.strides(),
                                        x.size(innermost(x)), kernel, options);
    const float* in = x.data<float>();
    float* out = result.values.mutable_data<float>();
    const int outer = 1 - innermost(x);
    const std::int64_t x_step = x.strides()[outer], y_step = result.values.strides()[outer];
    for_rows_of_planes(pool, x.size(outer), [&](const DirectPool& part, std::int64_t i) {
      pool_kernels().max_pool(part, in + i * x_step, out + i * y_step, indices + i * y_step);
    });
    return result;
  }
  visit(x.dtype(), [&](auto type) {
    using T = decltype(type);
    const T* const in = x.data<T>();
    T* const out = result.values.mutable_data<T>();
    const Strides &xs = x.strides(), &ys = result.values.strides();
    for_each_plane(x, result.values, [&](std::int64_t a, std::int64_t b) {
      for (std::int64_t oy = 0; oy < p.shape[2]; ++oy) {
        for (std::int64_t ox = 0; ox < p.shape[3]; ++ox) {
          T best = -std::numeric_limits<T>::infinity();
          std::int64_t index = -1;
          for (std::int64_t r = 0; r < p.kernel.h; ++r) {
            for (std::int64_t s = 0; s < p.kernel.w; ++s) {
              const std::int64_t y = oy * p.stride.h + r * p.dilation.h - p.padding.h;
              const std::int64_t w = ox * p.stride.w + s * p.dilation.w - p.padding.w;
              if (y < 0 || y >= x.size(2) || w < 0 || w >= x.size(3)) continue;
              const T value = in[a + y * xs[2] + w * xs[3]];
              if (index < 0 || value > best || value != value) {
                best = value;
                index = y * x.size(3) + w;
              }
            }
          }
          if (options.relu && best <= 0) {
            best = 0;
            index = -1;
          }
          out[b + oy * ys[2] + ox * ys[3]] = best;
          indices[b + oy * ys[2] + ox * ys[3]] = static_cast<std::int32_t>(index);
        }
      }
    });
  });
  return result;
}

Tensor max_pool2d_backward(const Tensor& grad_out, const Tensor& indices, const Shape& x_shape, Size2 kernel,
                           const PoolOptions& options) {
  check_dtype("max_pool2d_backward", grad_out);
  const Window p = check("max_pool2d_backward", x_shape, kernel, options);
  NIBBLE_CHECK(grad_out.shape() == p.shape, "max_pool2d_backward: gradient has shape ", grad_out.shape(),
               ", expected ", p.shape);
  NIBBLE_CHECK(indices.shape() == p.shape, "max_pool2d_backward: indices have shape ", indices.shape(),
               ", expected ", p.shape);
  Tensor grad_x = empty_in_order_of(indices, x_shape, grad_out.dtype());
  if (grad_x.numel() == 0) return grad_x;
  const bool disjoint = p.stride.h >= p.kernel.h && p.stride.w >= p.kernel.w && p.dilation == Size2(1);
  const bool covers = disjoint && p.stride == p.kernel && p.padding == Size2(0) &&
                      p.shape[2] * p.kernel.h >= x_shape[2] && p.shape[3] * p.kernel.w >= x_shape[3];
  const bool direct = disjoint && is_direct(grad_x);
  if (!direct || !covers) grad_x.fill(0);
  if (grad_out.numel() == 0) return grad_x;
  if (direct) {
    // The kernels read both with the same strides, of which the innermost is 1.
    Tensor grad = grad_out, codes = indices;
    if (grad.strides() != codes.strides() || codes.strides()[innermost(grad_x)] != 1) {
      grad = empty_in_order_of(grad_x, p.shape, DType::float32);
      grad.copy_from(grad_out);
      codes = with_strides(indices, grad.strides());
    }
    const DirectPool pool = direct_pool(x_shape, grad_x.strides(), p.shape, grad.strides(),
                                        x_shape[innermost(grad_x)], kernel, options);
    float* const out = grad_x.mutable_data<float>();
    const int outer = 1 - innermost(grad_x);
    const std::int64_t x_step = grad_x.strides()[outer], y_step = grad.strides()[outer];
    for_rows_of_planes(pool, x_shape[outer], [&](const DirectPool& part, std::int64_t i) {
      pool_kernels().max_pool_backward(part, grad.data<float>() + i * y_step,
                                       codes.data<std::int32_t>() + i * y_step, out + i * x_step);
    });
    return grad_x;
  }
  visit(grad_out.dtype(), [&](auto type) {
    using T = decltype(type);
    const Tensor where = indices.contiguous(), grad = grad_out.contiguous();
    const T* const g = grad.data<T>();
    const std::int32_t* const at = where.data<std::int32_t>();
    T* const out = grad_x.mutable_data<T>();
    const Strides& xs = grad_x.strides();
    for_each_plane(grad_x, grad, [&](std::int64_t a, std::int64_t b) {
      for (std::int64_t i = b; i < b + p.shape[2] * p.shape[3]; ++i)
        if (at[i] >= 0) out[a + at[i] / x_shape[3] * xs[2] + at[i] % x_shape[3] * xs[3]] += g[i];
    });
  });
  return grad_x;
}

namespace {

// Averages are linear: forward and backward walk the same windows. Calls f(y, x, oy, ox, 1 / divisor).
template <class F>
void for_each_average(const Shape& x, const Window& p, bool count_include_pad, F f) {
  for (std::int64_t oy = 0; oy < p.shape[2]; ++oy) {
    for (std::int64_t ox = 0; ox < p.shape[3]; ++ox) {
      const std::int64_t top = oy * p.stride.h - p.padding.h, left = ox * p.stride.w - p.padding.w;
      // With ceil_mode the last window may leave the padded input; what is outside does not count.
      const std::int64_t bottom = std::min(top + p.kernel.h, x[2] + p.padding.h);
      const std::int64_t right = std::min(left + p.kernel.w, x[3] + p.padding.w);
      const std::int64_t y0 = std::max<std::int64_t>(top, 0), y1 = std::min(bottom, x[2]);
      const std::int64_t x0 = std::max<std::int64_t>(left, 0), x1 = std::min(right, x[3]);
      const std::int64_t count = count_include_pad ? (bottom - top) * (right - left)
                                                   : std::max<std::int64_t>(1, (y1 - y0) * (x1 - x0));
      for (std::int64_t y = y0; y < y1; ++y)
        for (std::int64_t w = x0; w < x1; ++w) f(y, w, oy, ox, 1.0 / static_cast<double>(count));
    }
  }
}

template <class F>
void for_each_adaptive(const Shape& x, const Shape& out, F f) {
  for (std::int64_t oy = 0; oy < out[2]; ++oy) {
    for (std::int64_t ox = 0; ox < out[3]; ++ox) {
      const std::int64_t y0 = oy * x[2] / out[2], y1 = ((oy + 1) * x[2] + out[2] - 1) / out[2];
      const std::int64_t x0 = ox * x[3] / out[3], x1 = ((ox + 1) * x[3] + out[3] - 1) / out[3];
      for (std::int64_t y = y0; y < y1; ++y)
        for (std::int64_t w = x0; w < x1; ++w)
          f(y, w, oy, ox, 1.0 / static_cast<double>((y1 - y0) * (x1 - x0)));
    }
  }
}

// to[a] += factor * from[b] over all planes, with (a, b) from `walk`, whose f gets (y, x, oy, ox, factor).
template <class Walk>
void add_averages(const Tensor& from, Tensor& to, bool forward, Walk walk) {
  visit(from.dtype(), [&](auto type) {
    using T = decltype(type);
    if constexpr (std::is_floating_point_v<T>) {
      const T* const in = from.data<T>();
      T* const out = to.mutable_data<T>();
      const Strides &fs = from.strides(), &ts = to.strides();
      for_each_plane(from, to, [&](std::int64_t a, std::int64_t b) {
        walk([&](std::int64_t y, std::int64_t x, std::int64_t oy, std::int64_t ox, double factor) {
          if (forward)
            out[b + oy * ts[2] + ox * ts[3]] += static_cast<T>(factor) * in[a + y * fs[2] + x * fs[3]];
          else
            out[b + y * ts[2] + x * ts[3]] += static_cast<T>(factor) * in[a + oy * fs[2] + ox * fs[3]];
        });
      });
    }
  });
}

Tensor zeros_in_order_of(const Tensor& x, const Shape& shape) {
  Tensor result = empty_in_order_of(x, shape, x.dtype());
  result.fill(0);
  return result;
}

}  // namespace

Tensor avg_pool2d(const Tensor& x, Size2 kernel, const PoolOptions& options) {
  check_dtype("avg_pool2d", x);
  NIBBLE_CHECK(options.dilation == Size2(1), "avg_pool2d: dilation ", options.dilation, ", expected 1");
  const Window p = check("avg_pool2d", x.shape(), kernel, options);
  Tensor y = zeros_in_order_of(x, p.shape);
  add_averages(x, y, true, [&](auto f) { for_each_average(x.shape(), p, options.count_include_pad, f); });
  return y;
}

Tensor avg_pool2d_backward(const Tensor& grad_out, const Shape& x_shape, Size2 kernel,
                           const PoolOptions& options) {
  check_dtype("avg_pool2d_backward", grad_out);
  const Window p = check("avg_pool2d_backward", x_shape, kernel, options);
  NIBBLE_CHECK(grad_out.shape() == p.shape, "avg_pool2d_backward: gradient has shape ", grad_out.shape(),
               ", expected ", p.shape);
  Tensor grad_x = zeros_in_order_of(grad_out, x_shape);
  add_averages(grad_out, grad_x, false,
               [&](auto f) { for_each_average(x_shape, p, options.count_include_pad, f); });
  return grad_x;
}

Tensor adaptive_avg_pool2d(const Tensor& x, Size2 output) {
  check_dtype("adaptive_avg_pool2d", x);
  NIBBLE_CHECK(x.rank() == 4 && x.size(2) > 0 && x.size(3) > 0, "adaptive_avg_pool2d: input has shape ",
               x.shape(), ", expected [N, C, H, W] with pixels");
  NIBBLE_CHECK(output.h >= 1 && output.w >= 1, "adaptive_avg_pool2d: output ", output,
               ", expected at least 1");
  Tensor y = zeros_in_order_of(x, {x.size(0), x.size(1), output.h, output.w});
  add_averages(x, y, true, [&](auto f) { for_each_adaptive(x.shape(), y.shape(), f); });
  return y;
}

Tensor adaptive_avg_pool2d_backward(const Tensor& grad_out, const Shape& x_shape) {
  check_dtype("adaptive_avg_pool2d_backward", grad_out);
  NIBBLE_CHECK(grad_out.rank() == 4 && x_shape.rank() == 4 && grad_out.size(0) == x_shape[0] &&
                   grad_out.size(1) == x_shape[1],
               "adaptive_avg_pool2d_backward: gradient has shape ", grad_out.shape(), ", the input ",
               x_shape);
  Tensor grad_x = zeros_in_order_of(grad_out, x_shape);
  add_averages(grad_out, grad_x, false, [&](auto f) { for_each_adaptive(x_shape, grad_out.shape(), f); });
  return grad_x;
}

}  // namespace nibble
