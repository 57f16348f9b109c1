#include <cmath>

#include "nn/flatten.h"
#include "nn/pool.h"
#include "nn/sequential.h"
#include "nn/state_dict.h"
#include "quant/calibrate.h"
#include "quant/quant_activation.h"
#include "quant/quant_conv2d.h"
#include "quant/quant_linear.h"
#include "quant/quant_tensor.h"
#include "quant/weight_quant.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/reduce.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;
using namespace nibble::quant;

TEST_CASE("impossible widths are refused with the way out") {
  CHECK_THROWS_WITH(Int8WeightPerTensorFixedPoint(1), Catch::Contains("SignedBinaryWeightPerTensorConst"));
  CHECK_THROWS_WITH(Int8WeightPerTensorFloat(17), Catch::Contains("bit_width is 17, expected 2 to 16"));
  CHECK_THROWS_WITH(Int8ActPerTensorFloat(1), Catch::Contains("expected 2 to 16"));
  CHECK(Uint8ActPerTensorFloat(1).bit_width == 1);
  CHECK_THROWS_WITH(weight_quantizer("Int8WeightPerRow", 8), Catch::Contains("Int8WeightPerRow"));
}

TEST_CASE("a preset altered after construction is checked where it is used") {
  WeightQuantizer weight = Int8WeightPerTensorFloat();
  weight.bit_width = 1;
  CHECK_THROWS_WITH(quantize_weight(Variable(ones({2})), weight),
                    Catch::Contains("SignedBinaryWeightPerTensorConst"));
  ActQuantizer act = Uint8ActPerTensorFloat();
  act.is_signed = true;
  act.bit_width = 1;
  CHECK_THROWS_WITH(QuantReLU(act), Catch::Contains("expected 2 to 16 for signed codes"));
  act = ShiftedUint8ActPerTensorFloat();
  act.is_signed = true;
  CHECK_THROWS_WITH(QuantIdentity(act), Catch::Contains("unsigned"));
}

TEST_CASE("bias correction refuses a network without biases and leaves it as it was") {
  Rng rng(0);
  nn::Sequential model;
  model.add("first", QuantLinear(3, 3, {}, {Int8WeightPerTensorFloat(2), {}}, rng))
      .add("second", QuantLinear(3, 2, {.bias = false}, {Int8WeightPerTensorFloat(2), {}}, rng));
  const Tensor x = uniform({4, 3}, -1, 1, rng);
  const Tensor before = model(x).value();
  CHECK_THROWS_WITH(bias_correction_mode(model), Catch::Contains("QuantLinear(3, 2)"));
  CHECK(test::same_elements(model(x).value(), before));
}

TEST_CASE("one unsigned bit is {0, 1}") {
  QuantReLU relu(Uint8ActPerTensorFloat(1));
  const QuantTensor q(relu(from_values<float>({4}, {-3, 0.4f, 0.9f, 2})));
  CHECK(test::same_elements(q.codes(), from_values<std::int32_t>({4}, {0, 0, 0, 1})));
  CHECK(q.scale().value().item() == 2);
}

TEST_CASE("a quantized bias without a quantized input names the layer and the remedy") {
  Rng rng(0);
  QuantConv2d conv(3, 4, 3, {}, {Int8WeightPerTensorFloat(), Int16Bias()}, rng);
  CHECK_THROWS_WITH(conv(zeros({1, 3, 5, 5})),
                    Catch::Contains("QuantConv2d(3, 4)") && Catch::Contains("QuantIdentity"));
  CHECK_THROWS_WITH(QuantLinear(2, 2, {.bias = false}, {Int8WeightPerTensorFloat(), Int16Bias()}, rng),
                    Catch::Contains("no bias"));
}

TEST_CASE("pooling and flatten keep scale, zero point and width; layers drop them") {
  Rng rng(0);
  QuantIdentity identity(ShiftedUint8ActPerTensorFloat(4));
  const Variable x = identity(uniform({2, 3, 4, 4}, -1, 2, rng));
  nn::MaxPool2d pool(2);
  nn::Flatten flatten;
  const QuantTensor before(x), after(flatten(pool(x)));
  CHECK(after.scale().is_same(before.scale()));
  CHECK(after.zero_point() == before.zero_point());
  CHECK(after.zero_point() > 0);
  CHECK(after.bit_width() == 4);
  CHECK(max(after.codes()).item() == 15);
  QuantLinear linear(12, 2, {}, {}, rng);
  CHECK_FALSE(QuantTensor::is_quantized(linear(flatten(pool(x)))));
  CHECK_THROWS_WITH(QuantTensor(Variable(zeros({2}))), Catch::Contains("not quantized"));
}

TEST_CASE("quantizer state survives a state dict: training goes on with the same scales") {
  Rng rng(1);
  const auto make = [] {
    ActQuantizer q = Uint8ActPerTensorFloat(4);
    q.collect_stats_steps = 3;
    return QuantReLU(q);
  };
  QuantReLU first = make();
  std::vector<Tensor> inputs;
  for (int i = 0; i < 6; ++i) inputs.push_back(uniform({50}, -1, 1 + i, rng));
  for (int stop : {0, 2, 3, 5}) {
    QuantReLU whole = make(), resumed = make();
    for (int i = 0; i < 6; ++i) {
      if (i == stop) nn::load_state_dict(resumed, nn::state_dict(whole));
      const double expected = QuantTensor(whole(inputs[static_cast<std::size_t>(i)])).scale().value().item();
      if (i >= stop)
        CHECK(QuantTensor(resumed(inputs[static_cast<std::size_t>(i)])).scale().value().item() == expected);
    }
  }
}

TEST_CASE("a float checkpoint loads into a quantized network, which says what stayed at its default") {
  Rng rng(0);
  nn::Sequential model;
  model.add("identity", QuantIdentity(Int8ActPerTensorFloat(4)))
      .add("linear", QuantLinear(3, 2, {}, {Int8WeightPerTensorFixedPoint(4), Int16Bias()}, rng));
  const auto report =
      nn::load_state_dict(model, {{"linear.weight", ones({2, 3})}, {"linear.bias", ones({2})}}, false);
  CHECK(report.matched == std::vector<std::string>{"linear.weight", "linear.bias"});
  CHECK(report.missing == std::vector<std::string>{"identity.scale_value", "identity.scale_buffer",
                                                   "identity.collected_steps"});
}

TEST_CASE("a learned scale below zero is used as it is in training and by its absolute value in evaluation") {
  ActQuantizer q = Int8ActPerTensorFloat(4);
  q.collect_stats_steps = 0;
  QuantIdentity identity(q);
  identity(ones({4}));
  identity.named_parameters()[0].second.mutable_value().fill(-0.5);
  CHECK(QuantTensor(identity(ones({4}))).scale().value().item() == -0.0625);
  identity.eval();
  CHECK(QuantTensor(identity(ones({4}))).scale().value().item() == 0.0625);
}

TEST_CASE("an evaluation before any data uses a statistic of 1") {
  QuantIdentity identity(Int8ActPerTensorFloat(4));
  identity.eval();
  CHECK(QuantTensor(identity(ones({4}))).scale().value().item() == 0.125);
}

TEST_CASE("not a number goes through quantizers as such") {
  QuantReLU relu(Uint8ActPerTensorFloat(4));
  const Tensor y = relu(from_values<float>({2}, {std::nanf(""), 1})).value();
  CHECK(std::isnan(y.values<float>()[0]));
}

TEST_CASE("QuantReLU in front of MaxPool2d: one pass in a Sequential, in every phase") {
  Rng rng(21);
  const nn::MaxPool2d pool(2);
  for (const bool shifted : {false, true}) {
    ActQuantizer quantizer = shifted ? ShiftedUint8ActPerTensorFloat(4) : Uint8ActPerTensorFloat(4);
    quantizer.collect_stats_steps = 3;
    QuantReLU alone(quantizer);
    nn::Sequential together{QuantReLU(quantizer), nn::MaxPool2d(2)};
    for (int step = 0; step < 8; ++step) {
      const Tensor x = uniform({3, 8, 6, 32}, -2, 3, rng).permute({3, 0, 1, 2});
      if (step == 6) alone.eval(), together.eval();
      std::vector<Tensor> results;
      for (const bool fused : {false, true}) {
        const Variable v(x, true);
        const Variable y = fused ? together(v) : max_pool2d(alone(v), pool.kernel(), pool.options());
        CHECK(QuantTensor::is_quantized(y));
        y.backward(mul(y.value(), y.value()));
        results.push_back(y.value());
        results.push_back(v.grad());
        for (Variable parameter : fused ? together.parameters() : alone.parameters()) {
          if (!parameter.grad().defined()) continue;
          results.push_back(parameter.grad());
          parameter.zero_grad();
        }
      }
      const std::size_t half = results.size() / 2;
      REQUIRE(results.size() == 2 * half);
      CHECK(test::same_elements(results[0], results[half]));
      // Gradients depend on that of the scale, a sum over windows instead of elements.
      for (std::size_t i = 1; i < half; ++i)
        CHECK(test::relative_error(results[half + i], results[i]) < 1e-6);
    }
  }
}
