#pragma once

#include <random>

#include "quant/integer/bounds.h"
#include "quant/integer/model.h"
#include "quant/multiplier.h"
#include "quant/qparams.h"
#include "tensor/factory.h"

namespace nibble::test {

// Integer models of any kind that check() accepts, for whatever has to run them.
class RandomIntModel {
 public:
  explicit RandomIntModel(std::uint64_t seed) : random_(seed) {}

  std::int64_t between(std::int64_t lo, std::int64_t hi) {
    return std::uniform_int_distribution<std::int64_t>(lo, hi)(random_);
  }
  bool maybe() { return between(0, 1) == 1; }

  quant::CodeFormat format(int bits) {
    quant::CodeFormat f{.bit_width = bits, .is_signed = bits > 1 && maybe()};
    const quant::IntegerRange range = quant::integer_range(bits, f.is_signed, false);
    f.lo = static_cast<std::int32_t>(range.lo);
    f.hi = static_cast<std::int32_t>(range.hi);
    if (maybe()) f.zero_point = static_cast<std::int32_t>(between(f.lo, f.hi));
    if (between(0, 3) == 0) f.lo = f.zero_point;
    f.scale = std::ldexp(1.0f + 0.1f * static_cast<float>(between(0, 9)), static_cast<int>(between(-8, 0)));
    return f;
  }
  int bits() {
    return static_cast<int>(between(0, 5) == 0 ? between(1, 8) : std::int64_t{1} << between(0, 3));
  }

  void set_input(quant::IntModel& model, const Shape& image) {
    model.input.image = image;
    model.input.format = format(bits());
    for (std::int16_t& code : model.input.codes)
      code = static_cast<std::int16_t>(between(model.input.format.lo, model.input.format.hi));
  }

  // Every third layer has extreme weights only. Multipliers bring typical sums into the range of the codes.
  quant::IntProduct product(const std::string& name, const Shape& weight, const quant::CodeFormat& input) {
    quant::IntProduct l;
    l.name = name;
    l.weight_bits = bits();
    const int most = l.weight_bits == 1 ? 1 : (1 << (l.weight_bits - 1)) - 1;
    const bool extreme = between(0, 2) == 0 || l.weight_bits == 1;
    l.weight = empty(weight, DType::int8);
    for (std::int8_t& w : l.weight.mutable_values<std::int8_t>())
      w = static_cast<std::int8_t>(extreme ? (maybe() ? most : -most) : between(-most, most));
    const bool per_channel = maybe();
    l.bias_bits = maybe() ? 16 : 32;
    const std::int64_t reach =
        std::max<std::int64_t>(1, std::min<std::int64_t>(30000, 4 * weight.numel() / weight[0]));
    for (std::int64_t k = 0; k < weight[0]; ++k)
      l.bias.push_back(static_cast<std::int32_t>(between(-reach, reach)));
    l.weight_scale.assign(per_channel ? l.bias.size() : 1, 0);
    for (double& s : l.weight_scale) s = 0.001 * static_cast<double>(between(1, 100));
    l.out = {.bit_width = 32, .is_signed = true, .zero_point = 0, .lo = -INT32_MAX, .hi = INT32_MAX};
    sums_of_ = quant::bounds_of(l, input).largest;
    return l;
  }
  // `typical`: the part of the worst sum that reaches the largest code.
  void requantize(quant::IntProduct& l, const quant::CodeFormat& out) {
    l.out = out;
    add_multipliers(l, static_cast<double>(out.hi - out.lo + 1) / static_cast<double>(sums_of_) *
                           static_cast<double>(between(1, 12)));
  }
  void rescale(quant::IntProduct& l) {
    if (l.weight_scale.size() > 1) add_multipliers(l, 1);
  }

  // Some convolutions with and without pooling, then some linear layers; 1 to 5 channels, images of up to 19
  // pixels.
  quant::IntModel model() {
    quant::IntModel m;
    set_input(m, {between(1, 5), between(5, 19), between(5, 19)});
    Shape shape = m.input.image;
    quant::CodeFormat f = m.input.format;
    const std::int64_t convolutions = between(0, 3);
    for (std::int64_t i = 0; i < convolutions; ++i) {
      add_conv(m, shape, f, "conv" + std::to_string(i));
      if (between(0, 2) != 0) add_pool(m, shape, "pool" + std::to_string(i));
    }
    m.layers.push_back(quant::IntFlatten{"flatten"});
    shape = {shape.numel()};
    const std::int64_t hidden = between(0, 1);
    for (std::int64_t i = 0; i < hidden; ++i) {
      quant::IntProduct l = product("fc" + std::to_string(i), {between(1, 20), shape[0]}, f);
      requantize(l, f = format(bits()));
      shape = {l.out_channels()};
      m.layers.push_back(l);
    }
    quant::IntProduct last = product("linear", {between(1, 17), shape[0]}, f);
    if (maybe())
      rescale(last);
    else if (maybe())
      requantize(last, format(bits()));
    m.layers.push_back(last);
    quant::check(m);
    return m;
  }

  Tensor pixels(const Shape& image, std::int64_t n) {
    Tensor result = empty(image.inserted(0, n), DType::uint8);
    for (std::uint8_t& p : result.mutable_values<std::uint8_t>())
      p = static_cast<std::uint8_t>(between(0, 255));
    return result;
  }

 private:
  void add_multipliers(quant::IntProduct& l, double scale) {
    for (std::size_t k = 0; k < l.weight_scale.size(); ++k) {
      const quant::Multiplier m =
          quant::make_multiplier(scale * (1 - 0.07 * static_cast<double>(between(0, 9))));
      l.multiplier.push_back(m.multiplier);
      l.shift.push_back(m.shift);
    }
  }

  void add_conv(quant::IntModel& m, Shape& shape, quant::CodeFormat& f, const std::string& name) {
    const std::int64_t in = shape[0];
    std::int64_t groups = 1;
    if (between(0, 2) == 0) groups = in;
    if (in % 2 == 0 && between(0, 3) == 0) groups = 2;
    const Size2 kernel(between(1, std::min<std::int64_t>(5, shape[1])),
                       between(1, std::min<std::int64_t>(5, shape[2])));
    ConvOptions options{.padding = {between(0, kernel.h - 1), between(0, kernel.w - 1)}, .groups = groups};
    if (maybe()) options.stride = {between(1, 3), between(1, 3)};
    if (between(0, 3) == 0) options.dilation = {between(1, 2), between(1, 2)};
    if ((kernel.h - 1) * options.dilation.h + 1 > shape[1] ||
        (kernel.w - 1) * options.dilation.w + 1 > shape[2])
      options.dilation = 1;
    quant::IntProduct l =
        product(name, {groups * between(1, 9 / groups + 1), in / groups, kernel.h, kernel.w}, f);
    l.options = options;
    requantize(l, f = format(bits()));
    shape = quant::output_shape(l, shape);
    m.layers.push_back(l);
  }

  void add_pool(quant::IntModel& m, Shape& shape, const std::string& name) {
    quant::IntMaxPool pool{name, 2, {}};
    if (between(0, 2) == 0) {
      pool.kernel = {between(1, 3), between(1, 3)};
      pool.options.stride = {between(1, 3), between(1, 3)};
      pool.options.padding = {between(0, pool.kernel.h / 2), between(0, pool.kernel.w / 2)};
      pool.options.ceil_mode = maybe();
    }
    if (shape[1] < pool.kernel.h || shape[2] < pool.kernel.w) return;
    shape = quant::output_shape(pool, shape);
    m.layers.push_back(pool);
  }

  std::mt19937_64 random_;
  std::int64_t sums_of_ = 1;
};

}  // namespace nibble::test
