#include "apps/commands/trace_pixel.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <string>

#include "quant/integer/reference.h"
#include "tensor/check.h"

namespace nibble {
namespace {

using quant::CodeFormat;
using quant::IntProduct;

// One integer of an activation [C, H, W]; behind a Flatten c is the feature.
struct Place {
  std::int64_t c, y, x;
};

std::int64_t size_of_dim(const Tensor& t, int dim) { return dim < t.rank() ? t.size(dim) : 1; }

class Tracer {
 public:
  Tracer(const quant::IntModel& model, const Tensor& image, Place at)
      : trace_(quant::run_reference(model, image)), at_(at), format_(model.input.format) {
    text_ = fmt::format("pixel ({}, {}) = {}: code {}\n", at.y, at.x,
                        int{image.data<std::uint8_t>()[at.y * image.size(3) + at.x]}, code());
  }

  void follow(const quant::IntLayer& layer) {
    std::visit([&](const auto& l) { step(l); }, layer);
    format_ = quant::output_format(layer, format_);
    ++done_;
  }
  std::string take() { return std::move(text_); }

 private:
  const Tensor& codes(std::size_t layer) const { return trace_[layer].codes; }
  static std::int32_t value(const Tensor& t, const Place& p) {
    return t.data<std::int32_t>()[(p.c * size_of_dim(t, 2) + p.y) * size_of_dim(t, 3) + p.x];
  }
  std::int32_t code() const { return value(codes(done_), at_); }

  // The output whose window has the place in its middle, or as near as there is one.
  static std::int64_t output_of(std::int64_t at, std::int64_t stride, std::int64_t padding,
                                std::int64_t dilation, std::int64_t window, std::int64_t outputs) {
    const std::int64_t middle = window / 2 * dilation;
    return std::clamp<std::int64_t>((at + padding - middle + stride / 2) / stride, 0, outputs - 1);
  }

  void step(const quant::IntMaxPool& l) {
    const Tensor& out = codes(done_ + 1);
    const Size2 stride = l.options.stride == Size2(0) ? l.kernel : l.options.stride;
    const auto pooled = [&](std::int64_t at, std::int64_t step, std::int64_t padding, std::int64_t outputs) {
      return std::clamp<std::int64_t>((at + padding) / step, 0, outputs - 1);
    };
    at_.y = pooled(at_.y, stride.h, l.options.padding.h, out.size(2));
    at_.x = pooled(at_.x, stride.w, l.options.padding.w, out.size(3));
    text_ += fmt::format("{}: largest of its window, at ({}, {}): code {}\n", l.name, at_.y, at_.x,
                         value(out, at_));
  }

  void step(const quant::IntFlatten& l) {
    const Tensor& before = codes(done_);
    at_ = {(at_.c * size_of_dim(before, 2) + at_.y) * size_of_dim(before, 3) + at_.x, 0, 0};
    text_ += fmt::format("{}: feature {}: code {}\n", l.name, at_.c, value(codes(done_ + 1), at_));
  }

  void step(const IntProduct& l) {
    const Place from = at_;
    const Tensor& out = codes(done_ + 1);
    const Tensor weight = l.weight.contiguous();
    const std::int64_t rows = size_of_dim(weight, 2), cols = size_of_dim(weight, 3), depth = weight.size(1);
    at_.y = output_of(from.y, l.options.stride.h, l.options.padding.h, l.options.dilation.h, rows,
                      size_of_dim(out, 2));
    at_.x = output_of(from.x, l.options.stride.w, l.options.padding.w, l.options.dilation.w, cols,
                      size_of_dim(out, 3));
    const auto weight_of = [&](std::int64_t k) -> int {
      const std::int64_t per_group = l.out_channels() / l.options.groups, c = from.c - k / per_group * depth;
      const std::int64_t dy = from.y + l.options.padding.h - at_.y * l.options.stride.h,
                         dx = from.x + l.options.padding.w - at_.x * l.options.stride.w;
      const std::int64_t r = dy / l.options.dilation.h, s = dx / l.options.dilation.w;
      if (c < 0 || c >= depth || dy < 0 || dx < 0 || dy % l.options.dilation.h != 0 ||
          dx % l.options.dilation.w != 0 || r >= rows || s >= cols)
        return 0;
      return weight.data<std::int8_t>()[((k * depth + c) * rows + r) * cols + s];
    };
    at_.c = 0;
    for (std::int64_t k = 1; k < l.out_channels(); ++k)
      if (std::abs(weight_of(k)) > std::abs(weight_of(at_.c))) at_.c = k;
    const std::int32_t sum = value(trace_[done_ + 1].accumulators, at_),
                       bias = l.bias[static_cast<std::size_t>(at_.c)];
    const int w = weight_of(at_.c);
    const std::int32_t own = (value(codes(done_), from) - format_.zero_point) * w;
    text_ += l.is_linear() ? fmt::format("{}: output {}", l.name, at_.c)
                           : fmt::format("{}: channel {} at ({}, {})", l.name, at_.c, at_.y, at_.x);
    text_ +=
        fmt::format(": ({} - {}) x {} = {}, {} other terms {}, bias {}: sum {}\n", value(codes(done_), from),
                    format_.zero_point, w, own, depth * rows * cols - 1, sum - bias - own, bias, sum);
    if (l.is_requantized())
      text_ += fmt::format("  {} x {} / 2^{} = {:.4f}, rounded, + {}, clamped to {}..{}: code {}\n", sum,
                           l.multiplier_of(at_.c), l.shift_of(at_.c),
                           std::ldexp(static_cast<double>(sum) * l.multiplier_of(at_.c), -l.shift_of(at_.c)),
                           l.out.zero_point, l.out.lo, l.out.hi, value(out, at_));
  }

  quant::IntTrace trace_;
  Place at_;
  CodeFormat format_;
  std::size_t done_ = 0;  // layers, the input not counted
  std::string text_;
};

}  // namespace

std::string trace_pixel(const quant::IntModel& model, const Tensor& image, std::int64_t y, std::int64_t x) {
  NIBBLE_CHECK(y >= 0 && y < image.size(2) && x >= 0 && x < image.size(3), "--trace ", y, ",", x,
               ": the image has ", image.size(2), " x ", image.size(3), " pixels, from 0,0 on");
  Tracer tracer(model, image, {0, y, x});
  for (const quant::IntLayer& layer : model.layers) tracer.follow(layer);
  return tracer.take();
}

}  // namespace nibble
