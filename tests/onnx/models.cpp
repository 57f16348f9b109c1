#include "tests/onnx/models.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>

#include "autograd/no_grad.h"
#include "nn/activation.h"
#include "nn/batch_norm2d.h"
#include "nn/conv2d.h"
#include "nn/dropout.h"
#include "nn/eval_mode.h"
#include "nn/flatten.h"
#include "nn/linear.h"
#include "quant/integer/bounds.h"
#include "quant/integer/reference.h"
#include "quant/multiplier.h"
#include "quant/qparams.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/reduce.h"

namespace nibble::test {

using namespace nibble::quant;

namespace {

std::int64_t between(std::int64_t lo, std::int64_t hi, Rng& rng) {
  return lo + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(hi - lo + 1)));
}
bool coin(Rng& rng) { return rng.below(2) == 1; }

CodeFormat codes(int bits, bool is_signed, double scale) {
  const IntegerRange range = integer_range(bits, is_signed, false);
  return {.bit_width = bits,
          .is_signed = is_signed,
          .zero_point = 0,
          .lo = static_cast<std::int32_t>(range.lo),
          .hi = static_cast<std::int32_t>(range.hi),
          .scale = static_cast<float>(scale)};
}

// As a quantizer fills it: the zero point added before rounding.
void fill_table(IntInput& input) {
  const CodeFormat& f = input.format;
  for (std::size_t pixel = 0; pixel < 256; ++pixel) {
    const float value = static_cast<float>(pixel) / static_cast<float>(input.pixel_divisor);
    const float steps = value / static_cast<float>(f.scale) + static_cast<float>(f.zero_point);
    input.codes[pixel] = static_cast<std::int16_t>(std::clamp<double>(std::nearbyint(steps), f.lo, f.hi));
  }
}

struct Weights {
  int bits = 8;
  bool per_channel = false;
};

// A layer with random weights on codes of `input`, not requantized. Scales are floats, as training leaves
// them.
IntProduct random_product(const std::string& name, const Shape& weight, Weights weights,
                          const ConvOptions& options, const CodeFormat& input, Rng& rng) {
  IntProduct product;
  product.name = name;
  product.weight_bits = weights.bits;
  product.options = options;
  product.weight = empty(weight, DType::int8);
  const int most = weights.bits == 1 ? 1 : (1 << (weights.bits - 1)) - 1;
  for (std::int8_t& code : product.weight.mutable_values<std::int8_t>())
    code = static_cast<std::int8_t>(weights.bits == 1 ? (coin(rng) ? 1 : -1) : between(-most, most, rng));
  for (std::int64_t k = 0; k < weight[0]; ++k) {
    product.bias.push_back(static_cast<std::int32_t>(between(-most, most, rng)) * (input.hi - input.lo));
    if (k == 0 || weights.per_channel)
      product.weight_scale.push_back(static_cast<float>((1 + rng.uniform()) / (16 * most)));
  }
  product.out = {.bit_width = 32, .is_signed = true, .zero_point = 0, .lo = -INT32_MAX, .hi = INT32_MAX};
  product.out.scale = input.scale * product.weight_scale[0];
  return product;
}

void set_multipliers(IntProduct& product, const CodeFormat& input, double unit) {
  for (const double scale : product.weight_scale) {
    const Multiplier m = make_multiplier(input.scale * scale / unit);
    product.multiplier.push_back(m.multiplier);
    product.shift.push_back(m.shift);
  }
}

// Requantizes to codes; most sums stay well inside their range. The random factor keeps ratios of scales away
// from simple fractions, whose sums lie in the middle between two codes: there a float runtime may round
// either way.
void requantize_to(IntProduct& product, const CodeFormat& input, CodeFormat out, Rng& rng) {
  const double depth = static_cast<double>(product.weight.numel() / product.out_channels());
  const double largest = (input.hi - input.lo) * std::sqrt(depth) * (1 << product.weight_bits);
  out.scale = static_cast<float>(input.scale * product.weight_scale[0] * largest * (1 + rng.uniform()) /
                                 (4 * out.hi));
  product.out = out;
  set_multipliers(product, input, out.scale);
}

// Logits with a scale per channel, in one unit.
void requantize_logits(IntProduct& product, const CodeFormat& input) {
  const double largest = *std::max_element(product.weight_scale.begin(), product.weight_scale.end());
  product.out.scale = input.scale * std::ldexp(largest, bounds_of(product, input).bits() - 31);
  set_multipliers(product, input, product.out.scale);
}

CodeFormat random_codes(Rng& rng) {
  CodeFormat format = codes(static_cast<int>(between(2, 8, rng)), coin(rng), 1);
  if (coin(rng))
    format.zero_point = static_cast<std::int32_t>(between(format.lo, (format.lo + format.hi) / 2, rng));
  if (coin(rng)) format.lo = format.zero_point;  // a ReLU
  return format;
}

Weights random_weights(Rng& rng) {
  return {.bits = static_cast<int>(between(1, 8, rng)), .per_channel = coin(rng)};
}

}  // namespace

IntModel lab_model(int weight_bits, int act_bits, Rng& rng) {
  IntModel model;
  model.input.image = {1, 28, 28};
  model.input.format = codes(act_bits, true, static_cast<float>(std::ldexp(1.03, 1 - act_bits)));
  fill_table(model.input);
  CodeFormat format = model.input.format;
  const auto add_conv = [&](const std::string& number, std::int64_t in, std::int64_t out) {
    IntProduct conv =
        random_product("conv" + number, {out, in, 3, 3}, {weight_bits}, {.padding = 1}, format, rng);
    requantize_to(conv, format, codes(act_bits, false, 1), rng);
    format = conv.out;
    model.layers.push_back(std::move(conv));
    model.layers.push_back(IntMaxPool{"pool" + number, 2, {}});
  };
  add_conv("1", 1, 8);
  add_conv("2", 8, 16);
  model.layers.push_back(IntFlatten{"flatten"});
  model.layers.push_back(random_product("linear", {10, 784}, {weight_bits}, {}, format, rng));
  return model;
}

IntModel random_model(Rng& rng) {
  IntModel model;
  model.input.image = {2, between(24, 28, rng), between(24, 28, rng)};
  model.input.format = random_codes(rng);
  model.input.format.scale =
      static_cast<float>(1.0 / (model.input.format.hi - model.input.format.zero_point));
  fill_table(model.input);
  Shape shape = model.input.image;
  CodeFormat format = model.input.format;
  const auto append = [&](const IntLayer& layer) {
    shape = output_shape(layer, shape);
    format = output_format(layer, format);
    model.layers.push_back(layer);
  };
  for (int i = 0; i < 2; ++i) {
    const std::string number = std::to_string(i);
    const std::int64_t groups = between(1, 2, rng), out = 2 * between(1, 3, rng);
    const ConvOptions options{.stride = Size2(between(1, 2, rng), 1),
                              .padding = Size2(between(0, 1, rng), between(0, 1, rng)),
                              .dilation = Size2(1, between(1, 2, rng)),
                              .groups = groups};
    const Shape weight{out, shape[0] / groups, between(1, 3, rng), between(1, 3, rng)};
    IntProduct conv = random_product("conv" + number, weight, random_weights(rng), options, format, rng);
    requantize_to(conv, format, random_codes(rng), rng);
    append(conv);
    if (coin(rng))
      append(IntMaxPool{
          "pool" + number,
          Size2(2, between(2, 3, rng)),
          {.stride = Size2(between(1, 2, rng), 2), .padding = between(0, 1, rng), .ceil_mode = coin(rng)}});
  }
  if (coin(rng)) {
    append(IntFlatten{"flatten"});
    IntProduct linear = random_product("linear", {10, shape[0]}, random_weights(rng), {}, format, rng);
    if (linear.weight_scale.size() > 1) requantize_logits(linear, format);
    append(linear);
  } else {
    // A network may end in codes, and in a convolution.
    IntProduct last = random_product("last", {3, shape[0], 1, 1}, random_weights(rng), {}, format, rng);
    requantize_to(last, format, codes(8, true, 1), rng);
    append(last);
  }
  return model;
}

nn::Sequential float_network(Rng& rng) {
  const NoGrad no_grad;
  nn::Sequential features, network;
  const auto output = std::make_shared<nn::Linear>(12, 10, rng);
  features.add("conv", nn::Conv2d(1, 4, 3, {.stride = 2, .padding = Size2(1, 0), .bias = false}, rng))
      .add("norm", nn::BatchNorm2d(4))
      .add("relu", nn::ReLU{})
      .add("pool", nn::MaxPool2d(2, {.stride = 3, .padding = 1, .ceil_mode = true}));
  network.add("features", std::move(features))
      .add("depthwise", nn::Conv2d(4, 4, Size2(1, 3), {.dilation = 1, .groups = 4}, rng))
      .add("tanh", nn::Tanh{})
      .add("drop", nn::Dropout(0.5, 1))
      .add("average", nn::AvgPool2d(2, {.stride = 1, .padding = 1}))
      .add("overhanging", nn::AvgPool2d(3, {.stride = 2, .ceil_mode = true}))
      .add("adaptive", nn::AdaptiveAvgPool2d(Size2(3, 1)))
      .add("flatten", nn::Flatten{})
      .add("output", output);  // called like the output of the graph

  // Running statistics that are not just 0 and 1, and logits that are 0 on average.
  const Tensor x = div(random_pixels(64, {1, 28, 28}, rng).to(DType::float32), scalar(255));
  for (int pass = 0; pass < 10; ++pass) network(x);
  {
    const nn::EvalMode eval_mode(network);
    Variable bias = output->bias();
    bias.mutable_value().copy_from(bias.value() - mean(network(x).value(), {0}));
  }
  network.add("sigmoid", nn::Sigmoid{}).add("softmax", nn::Softmax(-1));
  return network;
}

Tensor random_pixels(std::int64_t n, const Shape& image, Rng& rng) {
  Tensor pixels = empty(image.inserted(0, n), DType::uint8);
  std::uint8_t* to = pixels.mutable_data<std::uint8_t>();
  for (std::int64_t plane = 0; plane < n * image[0]; ++plane) {
    std::array<std::uint64_t, 16> patches;
    for (std::uint64_t& patch : patches) patch = rng.below(192);
    for (std::int64_t y = 0; y < image[1]; ++y)
      for (std::int64_t x = 0; x < image[2]; ++x)
        *to++ =
            static_cast<std::uint8_t>(patches[static_cast<std::size_t>(y / 8 * 4 + x / 8)] + rng.below(64));
  }
  return pixels;
}

void center_logits(IntModel& model, const Tensor& pixels) {
  const Tensor sums = run_reference(model, pixels).back().accumulators.to(DType::float64);
  auto& last = std::get<IntProduct>(model.layers.back());
  for (std::int64_t k = 0; k < last.out_channels(); ++k)
    last.bias[static_cast<std::size_t>(k)] -= static_cast<std::int32_t>(mean(sums.select(1, k)).item());
}

}  // namespace nibble::test
