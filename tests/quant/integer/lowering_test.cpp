#include "quant/integer/lowering.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "autograd/no_grad.h"
#include "nn/activation.h"
#include "nn/batch_norm2d.h"
#include "nn/dropout.h"
#include "nn/flatten.h"
#include "nn/sequential.h"
#include "quant/calibrate.h"
#include "quant/integer/engine.h"
#include "quant/integer/graph.h"
#include "quant/integer/reference.h"
#include "quant/quant_activation.h"
#include "quant/quant_conv2d.h"
#include "quant/quant_linear.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tests/support/catch.h"
#include "tests/support/quantized_networks.h"
#include "tests/support/traces.h"

namespace nibble::quant {
namespace {

const LayerTrace& named(const IntTrace& trace, const std::string& name) {
  const auto found =
      std::find_if(trace.begin(), trace.end(), [&](const LayerTrace& l) { return l.name == name; });
  if (found == trace.end()) throw std::runtime_error("no layer is called " + name);
  return *found;
}

struct Differences {
  std::int64_t codes = 0, differing = 0, largest = 0;
};

// The network in integers, by the reference, deploy mode and the engine, which must agree; and how its codes
// differ from those of float fake quantization.
struct Lowered {
  IntModel model;
  Tensor pixels;
  IntTrace integers;
  FakeQuantTrace floats;

  Lowered(nn::Sequential& network, const Shape& image, Rng& rng)
      : model(lower(network, image)),
        pixels(random_pixels(image, rng)),
        integers(run_reference(model, pixels)),
        floats(run_fake_quant(network, pixels)) {
    REQUIRE(test::first_difference(integers, run_deploy(model, pixels)) == "");
    REQUIRE(test::first_difference(integers, IntEngine(model).trace(pixels)) == "");
  }

  Differences differences() const {
    Differences d;
    for (const LayerTrace& layer : floats.layers) {
      INFO(layer.name);
      const Tensor codes = named(integers, layer.name).codes;
      REQUIRE(codes.shape() == layer.codes.shape());
      for (std::int64_t i = 0; i < codes.numel(); ++i) {
        const std::int64_t by = std::abs(codes.data<std::int32_t>()[i] - layer.codes.data<std::int32_t>()[i]);
        d.differing += by != 0;
        d.largest = std::max(d.largest, by);
      }
      d.codes += codes.numel();
    }
    REQUIRE(d.codes > 0);
    return d;
  }

  // Largest distance of the logits from those in float, in units of the largest of these.
  double logit_error() const {
    const Tensor logits = integers.back().codes;
    const double scale = std::get<IntProduct>(model.layers.back()).out.scale;
    REQUIRE(logits.shape() == floats.logits.shape());
    double error = 0, largest = 0;
    for (std::int64_t i = 0; i < logits.numel(); ++i) {
      const double expected = floats.logits.data<float>()[i];
      error = std::max(error, std::abs(logits.data<std::int32_t>()[i] * scale - expected));
      largest = std::max(largest, std::abs(expected));
    }
    REQUIRE(largest > 0);
    return error / largest;
  }

  void check_identical() const {
    const Differences d = differences();
    CAPTURE(d.codes, d.largest);
    REQUIRE(d.differing == 0);
    REQUIRE(logit_error() == 0);
  }
  // Codes next to the boundary between two codes may fall on either side of it.
  void check_close(double share) const {
    const Differences d = differences();
    CAPTURE(d.codes, d.differing);
    REQUIRE(d.largest <= 1);
    REQUIRE(static_cast<double>(d.differing) <= share * static_cast<double>(d.codes));
  }
};

// What convolutional() leaves out: nested layers, averages, a ReLU in front of a quantizer, codes that are
// quantized again, hidden linear layers.
nn::Sequential averaging(const Quantizers& q, Rng& rng) {
  ActQuantizer fewer = q.hidden;
  fewer.bit_width = std::max(1, fewer.bit_width - 1);
  nn::Sequential block;
  block.add("conv", QuantConv2d(2, 6, {2, 3}, {.padding = {1, 2}, .dilation = {2, 2}}, q.layer, rng))
      .add("relu", nn::ReLU())
      .add("quant", QuantIdentity(q.input));
  nn::Sequential network;
  network.add("identity", QuantIdentity(q.input))
      .add("block", std::move(block))
      .add("average", nn::AvgPool2d(2, {.stride = 2}))
      .add("average_quant", QuantIdentity(q.input))
      .add("again", QuantReLU(fewer))
      .add("pool", nn::MaxPool2d(3, {.stride = 1, .padding = 1}))
      .add("all", nn::AdaptiveAvgPool2d(1))
      .add("all_quant", QuantReLU(q.hidden))
      .add("flatten", nn::Flatten())
      .add("linear1", QuantLinear(6, 9, {}, q.layer, rng))
      .add("relu1", QuantReLU(q.hidden))
      .add("linear2", QuantLinear(9, 3, {.bias = false}, {q.layer.weight, {}}, rng))
      .add("softmax", nn::LogSoftmax(1));
  return network;
}

TEST_CASE("lowered networks whose scales are powers of two have the codes of fake quantization") {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (const int act_bits : {1, 2, 4, 8})
      for (const int weight_bits : {2, 4, 8})
        for (const bool per_channel : {false, true}) {
          CAPTURE(seed, act_bits, weight_bits, per_channel);
          Rng rng(seed);
          nn::Sequential network = convolutional(fixed_point(act_bits, weight_bits, per_channel), rng);
          calibrate(network, kImage, rng);
          Lowered(network, kImage, rng).check_identical();
        }
}

TEST_CASE("averages, nested layers and codes that are quantized again are lowered exactly") {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (const int act_bits : {2, 4, 8})
      for (const bool per_channel : {false, true}) {
        CAPTURE(seed, act_bits, per_channel);
        Rng rng(seed);
        // Windows of 4 and 16 elements: powers of two.
        const Shape image{2, 8, 8};
        nn::Sequential network = averaging(fixed_point(act_bits, 4, per_channel), rng);
        calibrate(network, image, rng);
        const Lowered lowered(network, image, rng);
        const IntProduct& average = std::get<IntProduct>(lowered.model.layers[1]);
        REQUIRE(average.name == "average");
        REQUIRE(average.weight_scale == std::vector{0.25});
        lowered.check_identical();
      }
}

TEST_CASE("with float scales few codes differ, and by one") {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (const int act_bits : {2, 4, 8})
      for (const int weight_bits : {2, 4, 8})
        for (const bool per_channel : {false, true}) {
          CAPTURE(seed, act_bits, weight_bits, per_channel);
          Rng rng(seed);
          nn::Sequential network = convolutional(floating(act_bits, weight_bits, per_channel), rng);
          calibrate(network, kImage, rng);
          const Lowered lowered(network, kImage, rng);
          lowered.check_close(0.002);
          REQUIRE(lowered.logit_error() < 0.02);
          const bool is_rescaled = std::get<IntProduct>(lowered.model.layers.back()).is_requantized();
          REQUIRE(is_rescaled == per_channel);
        }
}

TEST_CASE("windows of any size and other networks with float scales stay close") {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    const Shape image{2, 10, 14};
    nn::Sequential network = averaging(floating(8, 8, seed % 2 == 0), rng);
    calibrate(network, image, rng);
    Lowered(network, image, rng).check_close(0.01);
  }
}

TEST_CASE("a bias without a quantizer becomes a whole number of units") {
  Rng rng(3);
  Quantizers q = fixed_point(8, 8);
  q.layer.bias = {};
  nn::Sequential network = convolutional(q, rng);
  calibrate(network, kImage, rng);
  const Lowered lowered(network, kImage, rng);
  // Half a unit of each sum.
  lowered.check_close(0.02);
  const auto& conv = std::get<IntProduct>(lowered.model.layers[0]);
  const double unit = double{lowered.model.input.format.scale} * conv.weight_scale[0];
  const auto& float_conv = dynamic_cast<QuantConv2d&>(*network.named_children()[1].second);
  for (std::size_t k = 0; k < conv.bias.size(); ++k)
    REQUIRE(conv.bias[k] == std::nearbyint(float_conv.bias().value().data<float>()[k] / unit));
}

// ---- batch norm

nn::Sequential normalized(const Quantizers& q, const nn::BatchNorm2dOptions& options, Rng& rng) {
  nn::Sequential network;
  network.add("identity", QuantIdentity(q.input))
      .add("conv", QuantConv2d(2, 6, 3, {.padding = 1}, q.layer, rng))
      .add("norm", nn::BatchNorm2d(6, options))
      .add("relu", QuantReLU(q.hidden))
      .add("pool", nn::MaxPool2d(2))
      .add("flatten", nn::Flatten())
      .add("linear", QuantLinear(216, 4, {}, q.layer, rng));
  return network;
}

nn::BatchNorm2d& norm_of(nn::Sequential& network) {
  return dynamic_cast<nn::BatchNorm2d&>(*network.named_children()[2].second);
}

TEST_CASE("batch norm whose slopes are powers of two and shifts whole is folded exactly") {
  for (std::uint64_t seed = 0; seed < 6; ++seed)
    for (const bool per_channel : {false, true}) {
      CAPTURE(seed, per_channel);
      Rng rng(seed);
      nn::Sequential network = normalized(fixed_point(6, 4, per_channel), {.eps = 0}, rng);
      nn::BatchNorm2d& norm = norm_of(network);
      set(norm.weight(), {1, -1, 2, -0.5f, -4, 0.25f});
      set(norm.running_var(), {1, 4, 0.25f, 1, 16, 0.0625f});
      set(norm.running_mean(), {0, 0.25f, -0.5f, 0.125f, 0, -0.25f});
      set(norm.bias(), {0.5f, -0.25f, 0, 0.125f, 1, -0.5f});
      calibrate(network, kImage, rng);
      const Lowered lowered(network, kImage, rng);
      REQUIRE(lowered.model.layers.size() == 4);
      const auto& conv = std::get<IntProduct>(lowered.model.layers[0]);
      REQUIRE(conv.weight_scale.size() == 6);
      REQUIRE(conv.multiplier == std::vector<std::int32_t>(6, 1 << 30));
      lowered.check_identical();
    }
}

TEST_CASE("any batch norm is folded within half a unit of the sums, negative slopes flip weights") {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    nn::Sequential network = normalized(floating(8, 8, seed % 2 == 0), {}, rng);
    nn::BatchNorm2d& norm = norm_of(network);
    std::vector<float> gamma, beta, mean, variance;
    for (int k = 0; k < 6; ++k) {
      const auto sign = static_cast<float>(k % 2 == 0 ? 1 : -1);
      gamma.push_back(sign * static_cast<float>(0.2 + 2 * rng.uniform()));
      beta.push_back(static_cast<float>(rng.uniform() - 0.5));
      mean.push_back(static_cast<float>(rng.uniform() - 0.5));
      variance.push_back(static_cast<float>(0.05 + rng.uniform()));
    }
    set(norm.weight(), gamma);
    set(norm.bias(), beta);
    set(norm.running_mean(), mean);
    set(norm.running_var(), variance);
    calibrate(network, kImage, rng);
    const Lowered lowered(network, kImage, rng);
    lowered.check_close(0.02);
    const auto& conv = std::get<IntProduct>(lowered.model.layers[0]);
    const auto& float_conv = dynamic_cast<QuantConv2d&>(*network.named_children()[1].second);
    const float* w = float_conv.weight().value().data<float>();
    for (std::int64_t i = 0; i < conv.weight.numel(); ++i)
      REQUIRE(conv.weight.data<std::int8_t>()[i] * w[i] * (i / 18 % 2 == 0 ? 1 : -1) >= 0);
  }
}

// ---- zero points, single bits

TEST_CASE("shifted activations: codes differ from fake quantization at halves with an odd zero point only") {
  int odd = 0, even = 0, halves = 0, differing = 0;
  for (std::uint64_t seed = 0; seed < 40; ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    const ActQuantizer shifted = ShiftedUint8ActPerTensorFixedPoint(5);
    const LayerQuantizers layer{Int8WeightPerTensorFixedPoint(2 + static_cast<int>(seed % 3)), Int16Bias()};
    nn::Sequential network;
    network.add("identity", QuantIdentity(Int8ActPerTensorFixedPoint(3)))
        .add("conv", QuantConv2d(2, 4, 3, {.padding = 1}, layer, rng))
        .add("shifted", QuantIdentity(shifted))
        .add("flatten", nn::Flatten())
        .add("linear", QuantLinear(576, 4, {}, layer, rng));
    calibrate(network, kImage, rng);
    const Lowered lowered(network, kImage, rng);
    const auto& conv = std::get<IntProduct>(lowered.model.layers[0]);
    REQUIRE(conv.out.zero_point > 0);
    (conv.out.zero_point % 2 != 0 ? odd : even) += 1;
    const LayerTrace& integers = named(lowered.integers, "conv");
    const Tensor floats = named(lowered.floats.layers, "conv").codes;
    REQUIRE(conv.multiplier_of(0) == 1 << 30);
    const std::int64_t unit = std::int64_t{1} << std::max(0, conv.shift_of(0) - 30);
    for (std::int64_t i = 0; i < floats.numel(); ++i) {
      const std::int32_t code = integers.codes.data<std::int32_t>()[i],
                         in_float = floats.data<std::int32_t>()[i];
      const std::int64_t acc = integers.accumulators.data<std::int32_t>()[i];
      const bool is_half = unit > 1 && (acc % unit == unit / 2 || acc % unit == -unit / 2);
      halves += is_half;
      CAPTURE(acc, code, in_float, conv.out.zero_point);
      if (code != in_float) {
        REQUIRE((is_half && conv.out.zero_point % 2 != 0));
        REQUIRE(std::abs(code - in_float) == 1);
        ++differing;
      }
    }
    if (conv.out.zero_point % 2 == 0) lowered.check_identical();
  }
  // Fake quantization adds the zero point before it rounds, integers add it afterwards.
  REQUIRE((odd > 3 && even > 3 && halves > 100 && differing > 0));
}

TEST_CASE("shifted inputs and float scales with zero points stay close; padding is the zero point") {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    CAPTURE(seed);
    Rng rng(seed);
    Quantizers q = floating(8, 8);
    q.input = ShiftedUint8ActPerTensorFloat(8);
    nn::Sequential network;
    network.add("identity", QuantIdentity(q.input))
        .add("conv1", QuantConv2d(2, 4, 3, {.padding = 1}, q.layer, rng))
        .add("quant1", QuantIdentity(q.input))
        .add("pool", nn::MaxPool2d(2))
        .add("conv2", QuantConv2d(4, 4, 3, {.padding = 2}, q.layer, rng))
        .add("quant2", QuantIdentity(q.input))
        .add("average", nn::AvgPool2d(2, {.stride = 2, .padding = 1}))
        .add("quant3", QuantIdentity(q.input))
        .add("flatten", nn::Flatten())
        .add("linear", QuantLinear(100, 4, {}, q.layer, rng));
    calibrate(network, kImage, rng);
    const Lowered lowered(network, kImage, rng);
    REQUIRE(std::get<IntProduct>(lowered.model.layers[0]).out.zero_point > 0);
    lowered.check_close(0.01);
  }
}

TEST_CASE("binary and ternary weights are lowered to 1 and 2 bits") {
  for (const bool binary : {true, false}) {
    CAPTURE(binary);
    Rng rng(4);
    Quantizers q = fixed_point(4, 8);
    q.layer.weight =
        binary ? SignedBinaryWeightPerTensorConst(0.125) : SignedTernaryWeightPerTensorConst(0.125);
    nn::Sequential network = convolutional(q, rng);
    calibrate(network, kImage, rng);
    const Lowered lowered(network, kImage, rng);
    for (const IntLayer& layer : lowered.model.layers)
      if (const auto* product = std::get_if<IntProduct>(&layer)) {
        REQUIRE(product->weight_bits == (binary ? 1 : 2));
        const auto codes = product->weight.contiguous();
        for (const std::int8_t w : codes.values<std::int8_t>())
          REQUIRE((binary ? w == -1 || w == 1 : w >= -1 && w <= 1));
      }
    lowered.check_identical();
  }
}

TEST_CASE("activations of one bit behind an input of two signed bits") {
  for (std::uint64_t seed = 0; seed < 4; ++seed)
    for (const bool power_of_two : {false, true}) {
      CAPTURE(seed, power_of_two);
      Rng rng(seed);
      Quantizers q = power_of_two ? fixed_point(1, 2) : floating(1, 2);
      q.layer.weight = SignedBinaryWeightPerTensorConst(power_of_two ? 0.0625 : 0.1);
      nn::Sequential network = convolutional(q, rng);
      calibrate(network, kImage, rng);
      const Lowered lowered(network, kImage, rng);
      REQUIRE(lowered.model.input.format.bit_width == 2);
      REQUIRE(lowered.model.input.format.is_signed);
      const CodeFormat& hidden = std::get<IntProduct>(lowered.model.layers[0]).out;
      REQUIRE((hidden.bit_width == 1 && hidden.lo == 0 && hidden.hi == 1));
      power_of_two ? lowered.check_identical() : lowered.check_close(0.002);
    }
}

TEST_CASE("lowering leaves the mode of the network alone") {
  Rng rng(5);
  nn::Sequential network = convolutional(fixed_point(4, 4), rng);
  calibrate(network, kImage, rng);
  network.train();
  lower(network, kImage);
  REQUIRE(network.is_training());
  for (const auto& [name, module] : network.named_modules()) REQUIRE(module->is_training());
}

TEST_CASE("pixels are divided by what the network was trained with") {
  Rng rng(6);
  nn::Sequential network = convolutional(fixed_point(8, 8), rng);
  calibrate(network, kImage, rng);
  const IntModel model = lower(network, kImage, 510);
  const IntModel usual = lower(network, kImage);
  REQUIRE(model.input.pixel_divisor == 510);
  for (std::size_t p = 0; p < 128; ++p) REQUIRE(model.input.codes[2 * p] == usual.input.codes[p]);
  const Tensor pixels = random_pixels(kImage, rng);
  const FakeQuantTrace floats = run_fake_quant(network, pixels, 510);
  REQUIRE(test::first_difference({{"input", {}, run_reference(model, pixels)[0].codes}},
                                 {floats.layers[0]}) == "");
}

}  // namespace
}  // namespace nibble::quant
