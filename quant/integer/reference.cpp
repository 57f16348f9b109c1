#include "quant/integer/reference.h"

#include <algorithm>

#include "quant/integer/walk.h"
#include "quant/kernels/reference.h"
#include "tensor/factory.h"

namespace nibble::quant {
namespace {

std::int64_t out_size(const Tensor& x, int dim) { return dim < x.rank() ? x.size(dim) : 1; }

// A linear layer is a convolution of 1x1 over images of 1x1: sizes beyond the rank count as 1.
struct Images {
  explicit Images(const Tensor& t)
      : n(t.size(0)), c(t.size(1)), h(out_size(t, 2)), w(out_size(t, 3)), at(t.data<std::int32_t>()) {}
  std::int64_t n, c, h, w;
  const std::int32_t* at;
  std::int32_t operator()(std::int64_t i, std::int64_t k, std::int64_t y, std::int64_t x) const {
    return at[((i * c + k) * h + y) * w + x];
  }
  bool contains(std::int64_t y, std::int64_t x) const { return y >= 0 && y < h && x >= 0 && x < w; }
};

template <class F>
Tensor each_output(const Tensor& x, const IntLayer& layer, F f) {
  const Shape image = output_shape(layer, x.shape().erased(0));
  Tensor result = empty(image.inserted(0, x.size(0)), DType::int32);
  const Images out(result);
  std::int32_t* to = result.mutable_data<std::int32_t>();
  for (std::int64_t n = 0; n < out.n; ++n)
    for (std::int64_t k = 0; k < out.c; ++k)
      for (std::int64_t y = 0; y < out.h; ++y)
        for (std::int64_t at = 0; at < out.w; ++at) *to++ = f(n, k, y, at);
  return result;
}

LayerTrace run(const IntProduct& l, const Tensor& input, const CodeFormat& format) {
  const Images x(input);
  const Tensor weight = l.weight.contiguous();
  const std::int8_t* const w = weight.data<std::int8_t>();
  const std::int64_t rows = out_size(weight, 2), cols = out_size(weight, 3), depth = weight.size(1);
  const std::int64_t per_group = l.out_channels() / l.options.groups;
  const Tensor sums =
      each_output(input, l, [&](std::int64_t n, std::int64_t k, std::int64_t y, std::int64_t at) {
        std::int64_t acc = l.bias[static_cast<std::size_t>(k)];
        const std::int64_t row = y * l.options.stride.h - l.options.padding.h;
        const std::int64_t col = at * l.options.stride.w - l.options.padding.w;
        for (std::int64_t c = 0; c < depth; ++c)
          for (std::int64_t r = 0; r < rows; ++r)
            for (std::int64_t s = 0; s < cols; ++s) {
              const std::int64_t yy = row + r * l.options.dilation.h, xx = col + s * l.options.dilation.w;
              if (!x.contains(yy, xx)) continue;  // the zero point, a true zero
              const std::int64_t code = x(n, k / per_group * depth + c, yy, xx);
              acc += (code - format.zero_point) * w[((k * depth + c) * rows + r) * cols + s];
            }
        return static_cast<std::int32_t>(acc);
      });
  if (!l.is_requantized()) return {l.name, sums, sums};
  const Images acc(sums);
  const Tensor codes =
      each_output(input, l, [&](std::int64_t n, std::int64_t k, std::int64_t y, std::int64_t at) {
        return static_cast<std::int32_t>(reference::requantize(
            acc(n, k, y, at), l.multiplier_of(k), l.shift_of(k), l.out.zero_point, l.out.lo, l.out.hi));
      });
  return {l.name, sums, codes};
}

LayerTrace run(const IntMaxPool& l, const Tensor& input, const CodeFormat& format) {
  const Images x(input);
  const Size2 stride = l.options.stride == Size2(0) ? l.kernel : l.options.stride;
  return {
      l.name, {}, each_output(input, l, [&](std::int64_t n, std::int64_t k, std::int64_t y, std::int64_t at) {
        std::int32_t most = format.lo;
        for (std::int64_t r = 0; r < l.kernel.h; ++r)
          for (std::int64_t s = 0; s < l.kernel.w; ++s) {
            const std::int64_t yy = y * stride.h + r * l.options.dilation.h - l.options.padding.h;
            const std::int64_t xx = at * stride.w + s * l.options.dilation.w - l.options.padding.w;
            if (x.contains(yy, xx)) most = std::max(most, x(n, k, yy, xx));
          }
        return most;
      })};
}

LayerTrace run(const IntFlatten& l, const Tensor& input, const CodeFormat&) {
  return {l.name, {}, input.flatten(1)};
}

}  // namespace

IntTrace run_reference(const IntModel& model, const Tensor& pixels) {
  return walk(model, pixels, [](const auto& layer, const Tensor& codes, const CodeFormat& format) {
    return run(layer, codes, format);
  });
}

std::int64_t argmax(const std::int32_t* logits, std::int64_t n) {
  return std::max_element(logits, logits + n) - logits;
}

}  // namespace nibble::quant
