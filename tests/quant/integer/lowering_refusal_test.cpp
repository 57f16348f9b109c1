#include <functional>

#include "nn/activation.h"
#include "nn/batch_norm2d.h"
#include "quant/integer/lowering.h"
#include "tests/support/catch.h"
#include "tests/support/quantized_networks.h"

namespace nibble::quant {
namespace {

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
