#include "quant/fake_quant.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "autograd/no_grad.h"
#include "autograd/node.h"
#include "quant/kernels/quant_pool.h"
#include "tensor/divide_up.h"
#include "tensor/factory.h"
#include "tensor/layout.h"
#include "tensor/parallel.h"

namespace nibble::quant {
namespace {

// Elements per partial sum: fixed, so that sums do not depend on the number of threads.
constexpr std::int64_t kChunk = 4096;

struct Setup {
  FakeQuantOptions options;
  float zero_point;

  FakeQuantParams params(float scale) const {
    return {.scale = scale,
            .zero_point = zero_point,
            .lo = static_cast<float>(options.range.lo),
            .hi = static_cast<float>(options.range.hi),
            .clamp_passes = options.clamp == Clamp::straight_through,
            .relu = options.relu};
  }
};

// A dense x, whose first dimension is outermost in memory where there is more than one scale.
Tensor arranged(const Tensor& x, std::int64_t scales) {
  return scales > 1 ? x.contiguous() : with_strides(x, dense_strides_like(x));
}

std::size_t chunk_count(std::int64_t numel, std::int64_t scales) {
  return scales > 0 ? static_cast<std::size_t>(scales * divide_up(numel / scales, kChunk)) : 0;
}

// Calls f(chunk number, scale index, first element, number of elements) in parallel.
template <class F>
void for_each_chunk(std::int64_t numel, std::int64_t scales, F f) {
  const std::int64_t group = scales > 0 ? numel / scales : 0;
  const std::int64_t pieces = divide_up(group, kChunk);
  parallel_for(scales * pieces, 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t start = i % pieces * kChunk;
      f(i, i / pieces, i / pieces * group + start, static_cast<std::size_t>(std::min(kChunk, group - start)));
    }
  });
}

// The gradients of input (undefined if it wants none), scale and zero point, from as many sums for each
// scale.
Grads gradients(const Tensor& grad_x, const std::vector<FakeQuantSums>& sums, const Shape& scale_shape,
                const Needs& needs) {
  Tensor grad_scale = empty(scale_shape);
  const auto scales = static_cast<std::size_t>(scale_shape.numel());
  double zero_point_sum = 0;
  for (std::size_t channel = 0; channel < scales; ++channel) {
    const std::size_t pieces = sums.size() / scales;
    double sum = 0;
    for (std::size_t i = channel * pieces; i < (channel + 1) * pieces; ++i) {
      sum += sums[i].scale;
      zero_point_sum += sums[i].zero_point;
    }
    grad_scale.mutable_data<float>()[channel] = static_cast<float>(sum);
  }
  Grads grads{std::nullopt, grad_scale};
  if (grad_x.defined()) grads[0] = grad_x;
  if (needs.size() > 2) grads.push_back(scalar(zero_point_sum));
  return grads;
}

std::vector<Variable> inputs_of(const Variable& x, const Variable& scale, const Variable& zero_point) {
  std::vector<Variable> inputs{x, scale};
  if (zero_point.defined()) inputs.push_back(zero_point);
  return inputs;
}

Setup setup_of(const FakeQuantOptions& options, const Variable& zero_point) {
  return {options, zero_point.defined() ? static_cast<float>(zero_point.value().item()) : 0.0f};
}

// What the one pass keeps for the backward pass, and nobody else sees: see QuantPoolKernels.
struct SavedChoice {
  Tensor slope, source;
};

// Where the one pass takes x: its planes lie one after the other, each [h, w, images or channels].
struct PlanesOfPool {
  QuantPool pool;
  int inner;  // the dimension of what lies next to each other
};
std::optional<PlanesOfPool> planes_of(const Tensor& x, Size2 kernel, const PoolOptions& o) {
  if (x.rank() != 4 || o.padding != Size2(0) || o.dilation != Size2(1) || o.ceil_mode) return {};
  const Size2 stride = o.stride == Size2(0) ? kernel : o.stride;
  const std::int64_t h = x.size(2), w = x.size(3);
  if (kernel.h < 1 || kernel.w < 1 || stride.h < kernel.h || stride.w < kernel.w || h < kernel.h ||
      w < kernel.w || h * w >= 1 << 24)
    return {};
  for (const int inner : {0, 1}) {
    const std::int64_t images = x.size(inner);
    Strides strides{1, 1, w * images, images};
    strides[1 - inner] = h * w * images;
    if (images > 0 && images % 16 == 0 && x.strides() == strides)
      return PlanesOfPool{{.images = images,
                           .h = h,
                           .w = w,
                           .oh = (h - kernel.h) / stride.h + 1,
                           .ow = (w - kernel.w) / stride.w + 1,
                           .r = kernel.h,
                           .s = kernel.w,
                           .stride_h = stride.h,
                           .stride_w = stride.w},
                          inner};
  }
  return {};
}

}  // namespace

Variable fake_quantize(const Variable& input, const Variable& scale, const Variable& zero_point,
                       const FakeQuantOptions& options) {
  const std::int64_t scales = scale.value().numel();
  NIBBLE_CHECK(input.dtype() == DType::float32 && scale.dtype() == DType::float32, "fake_quantize: dtypes ",
               input.dtype(), " and ", scale.dtype(), ", expected float32");
  NIBBLE_CHECK(scales == 1 || (input.value().rank() > 0 && scales == input.size(0)),
               "fake_quantize: scale has shape ", scale.shape(), ", input ", input.shape(),
               ", expected one scale or one per channel");
  const Tensor x = arranged(input.value(), scales);
  const Tensor factors = scale.value().contiguous();
  const Setup setup = setup_of(options, zero_point);

  Tensor y = empty_in_layout_of(x);
  const float* const in = x.data<float>();
  float* const out = y.mutable_data<float>();
  for_each_chunk(x.numel(), scales,
                 [&](std::int64_t, std::int64_t channel, std::int64_t first, std::size_t n) {
                   fake_quant_kernels().forward(in + first, out + first, n,
                                                setup.params(factors.data<float>()[channel]));
                 });

  return make_op("fake_quantize", y, inputs_of(input, scale, zero_point),
                 [x = SavedTensor(x), factors = SavedTensor(factors), setup, scale_shape = scale.shape()](
                     const Tensor& grad_y, const Needs& needs) {
                   const Tensor& source = x.get();
                   const Tensor grad = with_strides(grad_y, source.strides());
                   Tensor grad_x = needs[0] ? empty_in_layout_of(source) : Tensor();
                   float* const out = needs[0] ? grad_x.mutable_data<float>() : nullptr;
                   std::vector<FakeQuantSums> sums(chunk_count(source.numel(), scale_shape.numel()));
                   for_each_chunk(
                       source.numel(), scale_shape.numel(),
                       [&](std::int64_t chunk, std::int64_t channel, std::int64_t first, std::size_t n) {
                         sums[static_cast<std::size_t>(chunk)] = fake_quant_kernels().backward(
                             source.data<float>() + first, grad.data<float>() + first,
                             out == nullptr ? out : out + first, n,
                             setup.params(factors.get().data<float>()[channel]));
                       });
                   return gradients(grad_x, sums, scale_shape, needs);
                 });
}

Variable fake_quantize_max_pool2d(const Variable& input, const Variable& scale, const Variable& zero_point,
                                  const FakeQuantOptions& options, Size2 kernel, const PoolOptions& o) {
  const Tensor& x = input.value();
  const auto planes =
      x.dtype() == DType::float32 && scale.dtype() == DType::float32 && scale.value().numel() == 1
          ? planes_of(x, kernel, o)
          : std::nullopt;
  const FakeQuantParams params =
      planes ? setup_of(options, zero_point).params(static_cast<float>(scale.value().item()))
             : FakeQuantParams{};
  if (!planes || !is_regular(params) || options.clamp != Clamp::real)
    return max_pool2d(fake_quantize(input, scale, zero_point, options), kernel, o);

  const QuantPool pool = planes->pool;
  const int inner = planes->inner;
  const std::int64_t outer = x.size(1 - inner), x_step = pool.h * pool.w * pool.images,
                     y_step = pool.oh * pool.ow * pool.images;
  const Shape order = inner == 0 ? Shape{3, 0, 1, 2} : Shape{0, 3, 1, 2};
  const auto blank = [&] { return empty({outer, pool.oh, pool.ow, pool.images}).permute(order); };
  Tensor y = blank();
  const std::vector<Variable> inputs = inputs_of(input, scale, zero_point);
  const bool saves = grad_enabled() && std::any_of(inputs.begin(), inputs.end(), wants_grad);
  SavedChoice saved = saves ? SavedChoice{blank(), blank()} : SavedChoice{};
  const Shape scale_shape = scale.shape();
  float* const out = y.mutable_data<float>();
  float* const slope = saves ? saved.slope.mutable_data<float>() : nullptr;
  float* const source = saves ? saved.source.mutable_data<float>() : nullptr;
  parallel_for(outer, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      quant_pool_kernels().forward(pool, x.data<float>() + i * x_step, out + i * y_step,
                                   saves ? slope + i * y_step : nullptr,
                                   saves ? source + i * y_step : nullptr, params);
  });
  return make_op("fake_quantize_max_pool2d", y, inputs, [=](const Tensor& grad_y, const Needs& needs) {
    const Tensor grad = with_strides(grad_y, saved.slope.strides());
    Tensor grad_x = needs[0] ? empty({outer, pool.h, pool.w, pool.images}).permute(order) : Tensor();
    float* const out = needs[0] ? grad_x.mutable_data<float>() : nullptr;
    std::vector<FakeQuantSums> sums(static_cast<std::size_t>(outer * pool.oh));
    parallel_for(outer * pool.oh, 4, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t first = i * pool.ow * pool.images;
        sums[static_cast<std::size_t>(i)] = quant_pool_kernels().backward(
            pool, i % pool.oh, grad.data<float>() + first, saved.slope.data<float>() + first,
            saved.source.data<float>() + first, out == nullptr ? out : out + i / pool.oh * x_step,
            params.scale);
      }
    });
    return gradients(grad_x, sums, scale_shape, needs);
  });
}

}  // namespace nibble::quant
