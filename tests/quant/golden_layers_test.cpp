// Quantized layers together, and bias correction, against Brevitas.

#include <cmath>

#include "autograd/ops_pool.h"
#include "autograd/ops_shape.h"
#include "nn/activation.h"
#include "nn/flatten.h"
#include "nn/pool.h"
#include "nn/sequential.h"
#include "nn/state_dict.h"
#include "quant/calibrate.h"
#include "quant/quant_activation.h"
#include "quant/quant_conv2d.h"
#include "quant/quant_linear.h"
#include "quant/quant_tensor.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/reduce.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;
using namespace nibble::quant;
using test::Golden;

namespace {

// Codes computed after a float sum may differ by one where x / scale lies within 1e-5 (relative) of a half.
void check_codes(const Tensor& codes, const Tensor& expected, const Tensor& input, const Tensor& scale) {
  REQUIRE(codes.shape() == expected.shape());
  const Tensor a = codes.contiguous(), e = expected.contiguous(), quotient = div(input, scale).contiguous();
  for (std::int64_t i = 0; i < a.numel(); ++i) {
    const std::int32_t ours = a.data<std::int32_t>()[i], theirs = e.data<std::int32_t>()[i];
    if (ours == theirs) continue;
    const double q = quotient.data<float>()[i];
    INFO("element " << i << ": " << ours << " and " << theirs << ", x / scale " << q);
    CHECK((std::abs(ours - theirs) == 1 &&
           std::abs(std::abs(q - std::floor(q)) - 0.5) < 1e-5 * std::max(1.0, std::abs(q))));
  }
}

}  // namespace

TEST_CASE("golden: QuantIdentity, QuantConv2d, QuantReLU, max_pool2d, flatten, QuantLinear") {
  const Golden golden("quant_layers");
  for (int i = 0; i < golden.cases(); ++i) {
    const std::string phase = golden.meta(i, "phase");
    INFO("case " << i << " " << phase);
    const int weight_bits = static_cast<int>(golden.number(i, "weight_bits")),
              act_bits = static_cast<int>(golden.number(i, "act_bits"));
    const Shape conv_shape = golden.tensor(i, "conv_weight").shape(),
                linear_shape = golden.tensor(i, "linear_weight").shape();
    // A case that does not name its quantizers has those of the file's description.
    const auto preset = [&](const std::string& key, const char* otherwise) {
      return golden.has_meta("case" + std::to_string(i) + "." + key) ? golden.meta(i, key) : otherwise;
    };
    const LayerQuantizers quantizers{
        weight_quantizer(preset("weight_quantizer", "Int8WeightPerTensorFixedPoint"), weight_bits),
        bias_quantizer(preset("bias_quantizer", "Int16Bias"))};
    Rng rng(0);
    QuantIdentity identity(act_quantizer(preset("identity_quantizer", "Int8ActPerTensorFloat"), act_bits));
    QuantConv2d conv(conv_shape[1], conv_shape[0], {conv_shape[2], conv_shape[3]},
                     {.padding = {conv_shape[2] / 2, conv_shape[3] / 2}}, quantizers, rng);
    QuantReLU relu(act_quantizer(preset("relu_quantizer", "Uint8ActPerTensorFloat"), act_bits));
    QuantLinear linear(linear_shape[1], linear_shape[0], {}, quantizers, rng);
    nn::load_state_dict(
        conv, {{"weight", golden.tensor(i, "conv_weight")}, {"bias", golden.tensor(i, "conv_bias")}});
    nn::load_state_dict(
        linear, {{"weight", golden.tensor(i, "linear_weight")}, {"bias", golden.tensor(i, "linear_bias")}});

    struct Outputs {
      Variable identity, conv, relu, pool, out;
    };
    const auto forward = [&](const Variable& x) {
      Outputs o;
      o.identity = identity(x);
      o.conv = conv(o.identity);
      o.relu = relu(o.conv);
      o.pool = max_pool2d(o.relu, 2);
      o.out = linear(flatten(o.pool, 1));
      for (Variable* v : {&o.identity, &o.relu})
        if (v->requires_grad()) v->retain_grad();
      return o;
    };
    if (golden.has(i, "calib0.x")) {
      const auto set_calibrating = [&](bool on) {
        identity.set_calibrating(on);
        conv.set_calibrating(on);
        relu.set_calibrating(on);
        linear.set_calibrating(on);
      };
      set_calibrating(true);
      for (int k = 0; golden.has(i, "calib" + std::to_string(k) + ".x"); ++k)
        forward(golden.tensor(i, "calib" + std::to_string(k) + ".x"));
      set_calibrating(false);
    } else if (phase != "stats") {
      // The model of an earlier case: its scales are given.
      const auto restore = [&](QuantActivation& activation, const char* value) {
        const double steps = static_cast<double>(activation.quantizer().collect_stats_steps + 1);
        nn::load_state_dict(
            activation,
            {{"scale_value", golden.tensor(i, value)}, {"collected_steps", scalar(steps, DType::int64)}},
            false);
      };
      restore(identity, "identity_value");
      restore(relu, "relu_value");
    }
    for (nn::Module* module : std::initializer_list<nn::Module*>{&identity, &conv, &relu, &linear})
      module->train(phase != "eval");

    Variable x(golden.tensor(i, "x"), true);
    const Outputs o = forward(x);
    const auto close = [&](const char* name, const Tensor& actual, double tolerance) {
      INFO(name);
      CHECK(test::relative_error(actual, golden.tensor(i, name)) <= tolerance);
    };
    const QuantTensor q_identity(o.identity), q_relu(o.relu), q_pool(o.pool);
    CHECK(test::max_ulps(q_identity.scale().value(), golden.tensor(i, "identity_scale")) <= 2);
    CHECK(test::same_elements(q_identity.codes(), golden.tensor(i, "identity_int")));
    close("identity", o.identity.value(), 1e-6);
    const QuantTensor q_conv(conv.quantized_weight()), q_linear(linear.quantized_weight());
    CHECK(test::max_ulps(q_conv.value().value(), golden.tensor(i, "conv_qweight")) <= 2);
    CHECK(test::max_ulps(q_conv.scale().value(), golden.tensor(i, "conv_wscale")) <= 2);
    CHECK(test::max_ulps(q_linear.value().value(), golden.tensor(i, "linear_qweight")) <= 2);
    CHECK(test::max_ulps(q_linear.scale().value(), golden.tensor(i, "linear_wscale")) <= 2);
    close("conv_out", o.conv.value(), 1e-5);
    // Statistics of a float sum: the scale inherits its rounding.
    close("relu_scale", q_relu.scale().value(), 1e-6);
    check_codes(q_relu.codes(), golden.tensor(i, "relu_int"), o.conv.value(), q_relu.scale().value());
    close("relu", o.relu.value(), 1e-5);
    close("pool", o.pool.value(), 1e-5);
    close("pool_scale", q_pool.scale().value(), 1e-6);
    CHECK(q_pool.bit_width() == act_bits);
    close("out", o.out.value(), 1e-5);

    if (phase == "eval") continue;

    const Tensor grad_out = golden.tensor(i, "grad_out");
    o.out.backward(grad_out);
    const auto grad = [&](const char* name, const Variable& v, double margin) {
      INFO(name);
      const Tensor expected = golden.tensor(i, name);
      REQUIRE(v.grad().defined());
      const double difference = abs_max(sub(v.grad(), expected)).item();
      CHECK(difference <= 1e-5 * abs_max(expected).item() + margin);
    };
    // A scale's gradient may be off by 1e-6 * sum |g * code|. A weight's scale is at most 2 m / (n + 1) for
    // its largest magnitude m, so its slope is below 1 for every width.
    const auto margin = [](const Tensor& g, const QuantTensor& q) {
      return 1e-6 * sum(abs(mul(g, q.codes().to(DType::float32)))).item();
    };
    const double identity_margin = margin(o.identity.grad(), q_identity) / identity.divisor(),
                 relu_margin = margin(o.relu.grad(), q_relu) / relu.divisor();
    grad("grad_x", x, phase == "stats" ? identity_margin : 0);
    grad("grad_conv_weight", conv.weight(), margin(golden.tensor(i, "grad_conv_weight"), q_conv));
    grad("grad_conv_bias", conv.bias(), 0);
    grad("grad_linear_weight", linear.weight(), margin(golden.tensor(i, "grad_linear_weight"), q_linear));
    grad("grad_linear_bias", linear.bias(), 0);
    close("identity_value", identity.named_parameters()[0].second.value(), 1e-6);
    close("relu_value", relu.named_parameters()[0].second.value(), 1e-6);
    grad("grad_identity_value", identity.named_parameters()[0].second, identity_margin);
    grad("grad_relu_value", relu.named_parameters()[0].second, relu_margin);
  }
}

TEST_CASE("golden: bias correction") {
  const Golden golden("bias_correction");
  for (int i = 0; i < golden.cases(); ++i) {
    const bool extended = golden.meta(i, "kind") == "extended";
    INFO("case " << i << " " << golden.meta(i, "kind"));
    const int weight_bits = static_cast<int>(golden.number(i, "weight_bits")),
              act_bits = static_cast<int>(golden.number(i, "act_bits"));
    LayerQuantizers quantizers{Int8WeightPerTensorFixedPoint(weight_bits), {}};
    if (extended) quantizers.bias = Int16Bias();
    Rng rng(0);
    nn::Sequential model;
    const auto conv = [&](const std::string& name) {
      const Shape shape = golden.tensor(i, name + ".weight").shape();
      model.add(name, QuantConv2d(shape[1], shape[0], {shape[2], shape[3]},
                                  {.padding = {shape[2] / 2, shape[3] / 2}}, quantizers, rng));
    };
    const auto relu = [&](const std::string& name) {
      if (extended)
        model.add(name, QuantReLU(Uint8ActPerTensorFloat(act_bits)));
      else
        model.add(name, nn::ReLU{});
    };
    if (extended) model.add("identity", QuantIdentity(Int8ActPerTensorFloat(act_bits)));
    conv("conv1");
    relu("relu1");
    model.add("pool1", nn::MaxPool2d(2));
    conv("conv2");
    relu("relu2");
    model.add("pool2", nn::MaxPool2d(2)).add("flatten", nn::Flatten{});
    const Shape linear = golden.tensor(i, "linear.weight").shape();
    model.add("linear", QuantLinear(linear[1], linear[0], {}, quantizers, rng));

    nn::StateDict state;
    for (const std::string layer : {"conv1", "conv2", "linear"}) {
      state[layer + ".weight"] = golden.tensor(i, layer + ".weight");
      state[layer + ".bias"] = golden.tensor(i, layer + ".bias_before");
    }
    const auto report = nn::load_state_dict(model, state, false);
    CHECK(report.unexpected.empty());
    CHECK(report.matched.size() == 6);
    model.eval();
    {
      const calibration_mode calibrating(model);
      for (int k = 0; k < golden.number(i, "calibration_batches"); ++k)
        model(golden.tensor(i, "calib" + std::to_string(k) + ".x"));
    }
    const Tensor eval_x = golden.tensor(i, "eval_x");
    CHECK(test::relative_error(model(eval_x).value(), golden.tensor(i, "eval_before"), 1) <= 1e-4);
    {
      const bias_correction_mode correcting(model);
      for (int k = 0; k < golden.number(i, "correction_batches"); ++k)
        model(golden.tensor(i, "correct" + std::to_string(k) + ".x"));
    }
    nn::StateDict after = nn::state_dict(model);
    for (const std::string layer : {"conv1", "conv2", "linear"}) {
      INFO(layer);
      CHECK(test::relative_error(after[layer + ".bias"], golden.tensor(i, layer + ".bias_after"), 1) <= 1e-4);
      CHECK(test::same_elements(after[layer + ".weight"], state[layer + ".weight"]));
    }
    if (extended)
      for (const std::string act : {"identity", "relu1", "relu2"})
        CHECK(test::relative_error(after[act + ".scale_value"], golden.tensor(i, act + ".value")) <= 1e-6);
    CHECK(test::relative_error(model(eval_x).value(), golden.tensor(i, "eval_after"), 1) <= 1e-4);

    // A second calibration changes nothing: the scales are parameters now.
    {
      const calibration_mode again(model);
      model(mul(eval_x, Tensor(eval_x)));
    }
    for (const auto& [name, tensor] : nn::state_dict(model)) CHECK(test::same_elements(tensor, after[name]));
  }
}
