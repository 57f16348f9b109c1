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
  const std::int32_t* row(std::int64_t i, std::int64_t k, std::int64_t y) const {
    return at + ((i * c + k) * h + y) * w;
  }
  bool has_row(std::int64_t y) const { return y >= 0 && y < h; }
  bool has_column(std::int64_t x) const { return x >= 0 && x < w; }
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

// The weights of one output channel over a window of codes whose first corner may lie outside of the image.
struct Filter {
  std::int64_t depth, rows, cols;
  Size2 dilation;
  std::int64_t zero_point;

  std::int64_t operator()(const std::int8_t* weight, const Images& x, std::int64_t image,
                          std::int64_t channel, std::int64_t row, std::int64_t col) const {
    std::int64_t sum = 0;
    for (std::int64_t c = 0; c < depth; ++c)
      for (std::int64_t r = 0; r < rows; ++r, weight += cols) {
        const std::int64_t y = row + r * dilation.h;
        if (!x.has_row(y)) continue;  // the zero point, a true zero
        const std::int32_t* const codes = x.row(image, channel + c, y);
        for (std::int64_t s = 0; s < cols; ++s) {
          const std::int64_t at = col + s * dilation.w;
          if (x.has_column(at)) sum += (codes[at] - zero_point) * weight[s];
        }
      }
    return sum;
  }
};

LayerTrace run(const IntProduct& l, const Tensor& input, const CodeFormat& format) {
  const Images x(input);
  const Tensor weight = l.weight.contiguous();
  const auto& options = l.options;
  const Filter filter{weight.size(1), out_size(weight, 2), out_size(weight, 3), options.dilation,
                      format.zero_point};
  const std::int8_t* const weights = weight.data<std::int8_t>();
  const std::int64_t per_channel = weight.numel() / l.out_channels();
  const std::int64_t per_group = l.out_channels() / options.groups;
  const Tensor sums =
      each_output(input, l, [&](std::int64_t n, std::int64_t k, std::int64_t y, std::int64_t at) {
        return static_cast<std::int32_t>(l.bias[static_cast<std::size_t>(k)] +
                                         filter(weights + k * per_channel, x, n, k / per_group * filter.depth,
                                                y * options.stride.h - options.padding.h,
                                                at * options.stride.w - options.padding.w));
      });
  if (!l.is_requantized()) return {l.name, sums, sums};
  const Images acc(sums);
  const Tensor codes =
      each_output(input, l, [&](std::int64_t n, std::int64_t k, std::int64_t y, std::int64_t at) {
        return static_cast<std::int32_t>(reference::requantize(
            acc.row(n, k, y)[at], l.multiplier_of(k), l.shift_of(k), l.out.zero_point, l.out.lo, l.out.hi));
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
            if (x.has_row(yy) && x.has_column(xx)) most = std::max(most, x.row(n, k, yy)[xx]);
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
