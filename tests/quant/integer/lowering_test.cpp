#include "quant/integer/lowering.h"

#include <algorithm>
#include <cmath>
#include <functional>
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
#include "tests/support/traces.h"

namespace nibble::quant {
namespace {

constexpr std::int64_t kImages = 12;

Tensor random_pixels(const Shape& image, Rng& rng) {
  Tensor pixels = empty(image.inserted(0, kImages), DType::uint8);
  for (std::uint8_t& p : pixels.mutable_values<std::uint8_t>()) p = static_cast<std::uint8_t>(rng.below(256));
  return pixels;
}

void calibrate(nn::Sequential& network, const Shape& image, Rng& rng) {
  network.eval();
  const NoGrad no_grad;
  const calibration_mode mode(network);
  network(Variable(div(random_pixels(image, rng).to(DType::float32), scalar(255))));
}

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

// Quantizers of one network.
struct Quantizers {
  ActQuantizer input, hidden;
  LayerQuantizers layer;
};

Quantizers fixed_point(int act_bits, int weight_bits, bool per_channel = false) {
  return {
      Int8ActPerTensorFixedPoint(std::max(act_bits, 2)),
      Uint8ActPerTensorFixedPoint(act_bits),
      {per_channel ? Int8WeightPerChannelFixedPoint(weight_bits) : Int8WeightPerTensorFixedPoint(weight_bits),
       Int16Bias()}};
}

Quantizers floating(int act_bits, int weight_bits, bool per_channel = false) {
  return {Int8ActPerTensorFloat(std::max(act_bits, 2)),
          Uint8ActPerTensorFloat(act_bits),
          {per_channel ? Int8WeightPerChannelFloat(weight_bits) : Int8WeightPerTensorFloat(weight_bits),
           Int16Bias()}};
}

const Shape kImage{2, 12, 12};

// Two convolutions with pooling, then a linear layer: [2, 12, 12] to 5 logits.
nn::Sequential convolutional(const Quantizers& q, Rng& rng) {
  nn::Sequential network;
  network.add("identity", QuantIdentity(q.input))
      .add("conv1", QuantConv2d(2, 6, 3, {.padding = 1}, q.layer, rng))
      .add("relu1", QuantReLU(q.hidden))
      .add("pool1", nn::MaxPool2d(2))
      .add("drop", nn::Dropout(0.5, 1))
      .add("conv2", QuantConv2d(6, 4, 3, {.stride = {1, 2}, .padding = {0, 1}, .groups = 2}, q.layer, rng))
      .add("relu2", QuantReLU(q.hidden))
      .add("flatten", nn::Flatten())
      .add("linear", QuantLinear(48, 5, {}, q.layer, rng))
      .add("softmax", nn::Softmax(1));
  return network;
}

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

void set(const Variable& parameter, const std::vector<float>& values) {
  Variable handle = parameter;
  handle.mutable_value().copy_from(from_values({std::ssize(values)}, values));
}
void set(const Tensor& buffer, const std::vector<float>& values) {
  Tensor handle = buffer;
  handle.copy_from(from_values({std::ssize(values)}, values));
}

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

// ---- what is refused

using Add = std::function<void(nn::Sequential&, const Quantizers&, Rng&)>;

struct Refusal {
  const char* name;
  Add add;  // of layers behind a QuantIdentity called "identity"
  std::vector<std::string> message;
  bool calibrated = true;
};

void add_conv(nn::Sequential& n, const char* name, const LayerQuantizers& layer, Rng& rng,
              std::int64_t in = 2) {
  n.add(name, QuantConv2d(in, 2, 3, {.padding = 1}, layer, rng));
}

void add_classifier(nn::Sequential& n, const Quantizers& q, Rng& rng) {
  n.add("flatten", nn::Flatten()).add("linear", QuantLinear(288, 3, {}, q.layer, rng));
}

const std::vector<Refusal>& refusals() {
  static const std::vector<Refusal> all = {
      {"a float convolution",
       [](nn::Sequential& n, const Quantizers&, Rng& rng) { n.add("c1", nn::Conv2d(2, 2, 3, {}, rng)); },
       {"c1: ", "its weights are not quantized", "use QuantConv2d"}},
      {"a float linear layer",
       [](nn::Sequential& n, const Quantizers&, Rng& rng) {
         n.add("flatten", nn::Flatten()).add("l1", nn::Linear(288, 3, rng));
       },
       {"l1: ", "its weights are not quantized", "use QuantLinear"}},
      {"weights without a quantizer",
       [](nn::Sequential& n, const Quantizers&, Rng& rng) {
         add_conv(n, "c1", {{}, {}}, rng);
       },
       {"c1: ", "give it a weight quantizer"}},
      {"weights of more than 8 bits",
       [](nn::Sequential& n, const Quantizers&, Rng& rng) {
         add_conv(n, "c1", {Int8WeightPerTensorFloat(9), {}}, rng);
       },
       {"c1: ", "weights of 9 bits", "1 to 8"}},
      {"activations of more than 8 bits",
       [](nn::Sequential& n, const Quantizers& q, Rng& rng) {
         add_conv(n, "c1", q.layer, rng);
         n.add("r1", QuantReLU(Uint8ActPerTensorFloat(12)));
         add_classifier(n, q, rng);
       },
       {"r1: ", "activations of 12 bits", "1 to 8"}},
      {"a quantizer without a scale",
       [](nn::Sequential& n, const Quantizers& q, Rng& rng) {
         add_conv(n, "c1", q.layer, rng);
         n.add("r1", QuantReLU(q.hidden));
         add_classifier(n, q, rng);
       },
       {"identity: ", "has no scale yet", "calibrat"},
       false},
      {"sums that reach a convolution",
       [](nn::Sequential& n, const Quantizers& q, Rng& rng) {
         add_conv(n, "c1", {q.layer.weight, {}}, rng);
         add_conv(n, "c2", {q.layer.weight, {}}, rng);
       },
       {"c2: ", "the output of c1", "put a QuantReLU or QuantIdentity between them"}},
      {"sums that are pooled",
       [](nn::Sequential& n, const Quantizers& q, Rng& rng) {
         add_conv(n, "c1", q.layer, rng);
         n.add("p1", nn::MaxPool2d(2));
       },
       {"p1: ", "the output of c1", "put a QuantReLU or QuantIdentity between them"}},
      {"sums that are flattened",
       [](nn::Sequential& n, const Quantizers& q, Rng& rng) {
         add_conv(n, "c1", q.layer, rng);
         n.add("f1", nn::Flatten());
       },
       {"f1: ", "the output of c1", "QuantReLU or QuantIdentity"}},
      {"a ReLU in front of pooling",
       [](nn::Sequential& n, const Quantizers& q, Rng& rng) {
         add_conv(n, "c1", q.layer, rng);
         n.add("r1", nn::ReLU()).add("p1", nn::MaxPool2d(2));
       },
       {"p1: ", "the output of c1"}},
      {"a ReLU on codes",
       [](nn::Sequential& n, const Quantizers& q, Rng& rng) {
         n.add("r1", nn::ReLU());
         add_classifier(n, q, rng);
       },
       {"r1: ", "use QuantReLU"}},
      {"a ReLU at the end",
       [](nn::Sequential& n, const Quantizers& q, Rng& rng) {
         add_classifier(n, q, rng);
         n.add("r1", nn::ReLU());
       },
       {"linear: ", "ReLU behind the last layer", "use QuantReLU"}},
      {"batch norm on codes",
       [](nn::Sequential& n, const Quantizers&, Rng&) { n.add("bn", nn::BatchNorm2d(2)); },
       {"bn: ", "right behind a QuantConv2d"}},
      {"batch norm behind a ReLU",
       [](nn::Sequential& n, const Quantizers& q, Rng& rng) {
         add_conv(n, "c1", q.layer, rng);
         n.add("r1", nn::ReLU()).add("bn", nn::BatchNorm2d(2));
       },
       {"bn: ", "right behind a QuantConv2d"}},
      {"batch norm with a slope of 0",
       [](nn::Sequential& n, const Quantizers& q, Rng& rng) {
         add_conv(n, "c1", q.layer, rng);
         nn::BatchNorm2d norm(2);
         set(norm.weight(), {1, 0});
         n.add("bn", std::move(norm));
       },
       {"bn: ", "channel 1 is multiplied by 0", "no integer form"}},
      {"a sigmoid",
       [](nn::Sequential& n, const Quantizers&, Rng&) { n.add("s1", nn::Sigmoid()); },
       {"s1: ", "no integer form"}},
      {"a softmax that is not the last layer",
       [](nn::Sequential& n, const Quantizers& q, Rng& rng) {
         n.add("s1", nn::Softmax(1));
         add_classifier(n, {q.input, q.hidden, {q.layer.weight, {}}}, rng);
       },
       {"s1: ", "no integer form"}},
      {"a Flatten of something else",
       [](nn::Sequential& n, const Quantizers&, Rng&) { n.add("f1", nn::Flatten(2)); },
       {"f1: ", "flattens from dimension 2", "expected 1"}},
      {"an average with ceil_mode",
       [](nn::Sequential& n, const Quantizers&, Rng&) { n.add("a1", nn::AvgPool2d(5, {.ceil_mode = true})); },
       {"a1: ", "leave out ceil_mode"}},
      {"an average that does not count its padding",
       [](nn::Sequential& n, const Quantizers&, Rng&) {
         n.add("a1", nn::AvgPool2d(2, {.padding = 1, .count_include_pad = false}));
       },
       {"a1: ", "count the padding"}},
      {"an adaptive average over windows of different sizes",
       [](nn::Sequential& n, const Quantizers&, Rng&) { n.add("a1", nn::AdaptiveAvgPool2d(5)); },
       {"a1: ", "windows of different sizes", "5x5 does not divide [2, 12, 12]"}},
      {"codes behind a Flatten that are quantized again",
       [](nn::Sequential& n, const Quantizers& q, Rng& rng) {
         n.add("f1", nn::Flatten()).add("q1", QuantIdentity(q.input));
         n.add("linear", QuantLinear(288, 3, {}, q.layer, rng));
       },
       {"q1: ", "behind a Flatten again", "put it before the Flatten"}},
      {"a network without a product at its end",
       [](nn::Sequential& n, const Quantizers&, Rng&) { n.add("p1", nn::MaxPool2d(2)); },
       {"a convolution or linear layer last"}},
      {"a multiplier that does not exist",
       [](nn::Sequential& n, const Quantizers& q, Rng& rng) {
         const LayerQuantizers tiny{SignedBinaryWeightPerTensorConst(1e-13), {}};
         n.add("c1", QuantConv2d(2, 2, 3, {.bias = false}, tiny, rng)).add("r1", QuantReLU(q.hidden));
       },
       {"c1: ", "scale", "2^-32"}},
      {"a bias beyond the accumulator",
       [](nn::Sequential& n, const Quantizers& q, Rng& rng) {
         QuantConv2d conv(2, 2, 3, {}, {q.layer.weight, {}}, rng);
         set(conv.bias(), {0, 1e9f});
         n.add("c1", std::move(conv));
       },
       {"c1: ", "bias is", "at most 2^30"}},
      {"two layers of one name",
       [](nn::Sequential& n, const Quantizers& q, Rng& rng) { add_conv(n, "input", q.layer, rng); },
       {"two layers are called \"input\""}},
  };
  return all;
}

TEST_CASE("what cannot be lowered is refused by the name of the layer, with what to do") {
  for (const Refusal& refusal : refusals()) {
    INFO(refusal.name);
    Rng rng(7);
    const Quantizers q = floating(4, 4);
    nn::Sequential network;
    network.add("identity", QuantIdentity(q.input));
    refusal.add(network, q, rng);
    network.eval();
    if (refusal.calibrated) {
      const NoGrad no_grad;
      const calibration_mode mode(network);
      // Some of them cannot run at all.
      network(Variable(div(random_pixels(kImage, rng).to(DType::float32), scalar(255))));
    }
    std::string message = "accepted";
    try {
      lower(network, kImage);
    } catch (const std::invalid_argument& error) {
      message = error.what();
    }
    for (const std::string& part : refusal.message) CHECK_THAT(message, Catch::Contains(part));
  }
}

TEST_CASE("a network whose input is not quantized is refused, and one without layers") {
  Rng rng(8);
  nn::Sequential network;
  network.add("conv1", QuantConv2d(2, 2, 3, {}, {}, rng));
  CHECK_THROWS_WITH(lower(network, kImage),
                    Catch::Contains("conv1: its input is not quantized; put a QuantIdentity first"));
  nn::Sequential empty_network;
  CHECK_THROWS_WITH(lower(empty_network, kImage), Catch::Contains("no layers"));
}

TEST_CASE("a network whose sums could leave int32 is refused by name") {
  Rng rng(9);
  const Quantizers q = floating(8, 8);
  nn::Sequential network;
  network.add("identity", QuantIdentity(Uint8ActPerTensorFloat(8)))
      .add("flatten", nn::Flatten())
      .add("wide", QuantLinear(262144, 1, {}, {q.layer.weight, {}}, rng));
  const Shape image{1, 512, 512};
  calibrate(network, image, rng);
  CHECK_THROWS_WITH(lower(network, image), Catch::Contains("wide: sums need 33 bits"));
}

TEST_CASE("images that do not fit the network are refused by the name of the layer") {
  Rng rng(10);
  nn::Sequential network = convolutional(fixed_point(4, 4), rng);
  calibrate(network, kImage, rng);
  CHECK_THROWS_WITH(lower(network, {3, 12, 12}), Catch::Contains("conv1: "));
  CHECK_THROWS_WITH(lower(network, {2, 16, 16}), Catch::Contains("linear: "));
  CHECK_THROWS_AS(lower(network, {12, 12}), std::invalid_argument);
}

}  // namespace
}  // namespace nibble::quant
