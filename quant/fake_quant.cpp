#include "quant/fake_quant.h"

#include <vector>

#include "autograd/node.h"
#include "quant/kernels/fake_quant.h"
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

// Calls f(chunk number, scale index, first element, number of elements) in parallel.
template <class F>
void for_each_chunk(std::int64_t numel, std::int64_t scales, F f) {
  const std::int64_t group = scales > 0 ? numel / scales : 0;
  const std::int64_t pieces = (group + kChunk - 1) / kChunk;
  parallel_for(scales * pieces, 4, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t start = i % pieces * kChunk;
      f(i, i / pieces, i / pieces * group + start, static_cast<std::size_t>(std::min(kChunk, group - start)));
    }
  });
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
  const Setup setup{options, zero_point.defined() ? static_cast<float>(zero_point.value().item()) : 0.0f};

  Tensor y = empty_in_layout_of(x);
  const float* const in = x.data<float>();
  float* const out = y.mutable_data<float>();
  for_each_chunk(x.numel(), scales,
                 [&](std::int64_t, std::int64_t channel, std::int64_t first, std::size_t n) {
                   fake_quant_kernels().forward(in + first, out + first, n,
                                                setup.params(factors.data<float>()[channel]));
                 });

  auto backward = [x = SavedTensor(x), factors = SavedTensor(factors), setup, scales,
                   scale_shape = scale.shape()](const Tensor& grad_y, const Needs& needs) {
    const Tensor& source = x.get();
    const Tensor grad = with_strides(grad_y, source.strides());
    Tensor grad_x = empty_in_layout_of(source);
    const std::int64_t group = scales > 0 ? source.numel() / scales : 0;
    const std::int64_t pieces = (group + kChunk - 1) / kChunk;
    std::vector<FakeQuantSums> partial(static_cast<std::size_t>(scales * pieces));
    float* const out_grad = grad_x.mutable_data<float>();
    for_each_chunk(source.numel(), scales,
                   [&](std::int64_t chunk, std::int64_t channel, std::int64_t first, std::size_t n) {
                     partial[static_cast<std::size_t>(chunk)] = fake_quant_kernels().backward(
                         source.data<float>() + first, grad.data<float>() + first, out_grad + first, n,
                         setup.params(factors.get().data<float>()[channel]));
                   });
    Tensor grad_scale = empty({scales});
    double zero_point_sum = 0;
    for (std::int64_t channel = 0; channel < scales; ++channel) {
      double sum = 0;
      for (std::int64_t i = channel * pieces; i < (channel + 1) * pieces; ++i) {
        sum += partial[static_cast<std::size_t>(i)].scale;
        zero_point_sum += partial[static_cast<std::size_t>(i)].zero_point;
      }
      grad_scale.mutable_data<float>()[channel] = static_cast<float>(sum);
    }
    Grads grads(needs.size());
    grads[0] = grad_x;
    grads[1] = grad_scale.reshape(scale_shape);
    if (needs.size() > 2) grads[2] = scalar(zero_point_sum);
    return grads;
  };
  if (zero_point.defined())
    return make_op("fake_quantize", y, {input, scale, zero_point}, std::move(backward));
  return make_op("fake_quantize", y, {input, scale}, std::move(backward));
}

}  // namespace nibble::quant
