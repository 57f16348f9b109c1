// Weight, activation and bias quantizers against Brevitas (tests/golden/quant_*.safetensors). Tolerances are
// those of tests/golden/README.md.

#include <cmath>
#include <numbers>

#include "autograd/ops_elementwise.h"
#include "quant/bias_quant.h"
#include "quant/quant_activation.h"
#include "quant/quant_tensor.h"
#include "quant/weight_quant.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/reduce.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;
using namespace nibble::quant;
using test::Golden;

namespace {

// Values that follow from codes and scale: 2 units in the last place.
constexpr std::int64_t kUlps = 2;
constexpr double kGradTolerance = 1e-5;  // of the largest magnitude

// Gradients into a scale are a difference of two large sums: 1e-6 * sum |grad * code| absolute.
double scale_margin(const Tensor& grad, const Tensor& codes) {
  return 1e-6 * sum(abs(mul(grad.to(DType::float64), codes.to(DType::float64)))).item();
}

double largest(const Tensor& x) { return x.numel() == 0 ? 0 : abs_max(x.to(DType::float64)).item(); }

// |actual - expected| <= kGradTolerance * max|expected| + margin, elementwise.
void check_grad(const Tensor& actual, const Tensor& expected, double margin) {
  REQUIRE(actual.shape() == expected.shape());
  const double difference = largest(sub(actual.to(DType::float64), expected.to(DType::float64)));
  CHECK(difference <= kGradTolerance * largest(expected) + margin);
}

WeightQuantizer weight_quantizer_of(const Golden& golden, int i, const char* bits_key = "bit_width") {
  const std::string name =
      golden.meta(i, bits_key == std::string("bit_width") ? "quantizer" : "weight_quantizer");
  WeightQuantizer q = weight_quantizer(name, static_cast<int>(golden.number(i, bits_key)));
  if (q.kind == WeightKind::integer) return q;
  const std::string kind = golden.meta(i, "kind");
  const std::size_t at = kind.find("scaling_const=");
  if (at != std::string::npos) q.scaling_const = std::stod(kind.substr(at + 14));
  return q;
}

// dscale / dm, where it is largest.
double scale_slope(const WeightQuantizer& quantizer, const Tensor& scale, const Tensor& weight) {
  if (quantizer.kind != WeightKind::integer) return 0;
  const double n = integer_range(quantizer.bit_width, true, true).hi;
  if (!quantizer.power_of_two) return 1 / n;
  // Less than a factor of 2 above m / (n + 1), which is all that is known of a channel.
  return quantizer.per_channel ? 2 / (n + 1) : scale.item() / std::max(largest(weight), double{kScalingMin});
}

}  // namespace

TEST_CASE("golden: weight quantizers") {
  const Golden golden("quant_weight");
  for (int i = 0; i < golden.cases(); ++i) {
    INFO("case " << i << " " << golden.meta(i, "quantizer") << " " << golden.meta(i, "bit_width") << " bits, "
                 << golden.meta(i, "kind"));
    const WeightQuantizer quantizer = weight_quantizer_of(golden, i);
    Variable w(golden.tensor(i, "weight").clone(), true);
    const QuantTensor q(quantize_weight(w, quantizer));
    CHECK(test::same_elements(q.codes(), golden.tensor(i, "int_weight")));
    // Constant scales are stored as [1].
    const Tensor scale = golden.tensor(i, "scale");
    CHECK(test::max_ulps(q.scale().value().reshape(scale.shape()), scale) <= kUlps);
    CHECK(test::max_ulps(q.value().value(), golden.tensor(i, "quant_weight")) <= kUlps);
    CHECK(q.zero_point() == golden.tensor(i, "zero_point").item());
    CHECK(q.bit_width() == static_cast<int>(golden.number(i, "bit_width")));
    CHECK(q.is_signed() == golden.flag(i, "signed"));
    if (golden.has(i, "weight_after"))
      CHECK(test::same_elements(w.value(), golden.tensor(i, "weight_after")));
    const Tensor grad_out = golden.tensor(i, "grad_out");
    q.value().backward(grad_out);
    check_grad(w.grad(), golden.tensor(i, "grad_weight"),
               scale_margin(grad_out, q.codes()) * scale_slope(quantizer, scale, golden.tensor(i, "weight")));
  }
}

TEST_CASE("golden: bias quantizers") {
  const Golden golden("quant_bias");
  for (int i = 0; i < golden.cases(); ++i) {
    INFO("case " << i << " " << golden.meta(i, "quantizer"));
    Variable bias(golden.tensor(i, "bias"), true), input_scale(golden.tensor(i, "input_scale"), true),
        weight(golden.tensor(i, "weight"), true);
    const WeightQuantizer weights = weight_quantizer_of(golden, i, "weight_bits");
    const Variable weight_scale = QuantTensor(quantize_weight(weight, weights)).scale();
    const QuantTensor q(
        quantize_bias(bias, input_scale, weight_scale, bias_quantizer(golden.meta(i, "quantizer"))));
    CHECK(test::max_ulps(q.scale().value(), golden.tensor(i, "scale")) <= kUlps);
    CHECK(test::max_ulps(q.value().value(), golden.tensor(i, "quant_bias")) <= kUlps);
    CHECK(test::same_elements(q.codes(), golden.tensor(i, "int_bias")));
    const Tensor grad_out = golden.tensor(i, "grad_out");
    q.value().backward(grad_out);
    const double margin = scale_margin(grad_out, golden.tensor(i, "int_bias"));
    check_grad(bias.grad(), golden.tensor(i, "grad_bias"), 0);
    check_grad(input_scale.grad(), golden.tensor(i, "grad_input_scale"),
               margin * largest(weight_scale.value()));
    check_grad(
        weight.grad(), golden.tensor(i, "grad_weight"),
        margin * largest(input_scale.value()) * scale_slope(weights, weight_scale.value(), weight.value()));
  }
}

TEST_CASE("golden: the percentile is the maximum only for small inputs") {
  const Golden golden("quant_act_percentile");
  for (int i = 0; i < golden.cases(); ++i) {
    INFO("case " << i);
    ActQuantizer quantizer = Int8ActPerTensorFloat(4);
    quantizer.percentile = golden.number(i, "high_percentile_q");
    QuantIdentity identity(quantizer);
    const QuantTensor q(identity(golden.tensor(i, "x")));
    CHECK(test::same_elements(identity.named_buffers()[0].second, golden.tensor(i, "stat")));
    CHECK(test::max_ulps(q.scale().value(), golden.tensor(i, "scale")) <= kUlps);
    const Tensor first = golden.tensor(i, "int");
    CHECK(test::same_elements(q.codes().reshape({-1}).narrow(0, 0, first.numel()), first.reshape({-1})));
  }
}

namespace {

struct ActCase {
  const Golden& golden;
  int index;

  ActQuantizer quantizer() const {
    ActQuantizer q =
        act_quantizer(golden.meta(index, "quantizer"), static_cast<int>(golden.number(index, "bit_width")));
    q.collect_stats_steps = static_cast<std::int64_t>(golden.number(index, "collect_stats_steps"));
    if (!golden.meta(index, "high_percentile_q").empty())
      q.percentile = golden.number(index, "high_percentile_q");
    if (!golden.meta(index, "low_percentile_q").empty())
      q.low_percentile = golden.number(index, "low_percentile_q");
    return q;
  }

  std::unique_ptr<QuantActivation> layer() const {
    const std::string kind = golden.meta(index, "layer");
    if (kind == "QuantReLU") return std::make_unique<QuantReLU>(quantizer());
    if (kind == "QuantIdentity") return std::make_unique<QuantIdentity>(quantizer());
    throw std::runtime_error("unknown layer " + kind);
  }

  Tensor get(const std::string& step, const std::string& name) const {
    return golden.tensor(index, step + "." + name);
  }
  bool has(const std::string& step, const std::string& name) const {
    return golden.has(index, step + "." + name);
  }

  void check_output(const std::string& step, const Variable& y) const {
    const QuantTensor q(y);
    CHECK(test::max_ulps(q.scale().value(), get(step, "scale")) <= kUlps);
    CHECK(q.zero_point() == get(step, "zero_point").item());
    CHECK(test::same_elements(q.codes(), get(step, "int")));
    CHECK(test::max_ulps(y.value(), get(step, "y")) <= kUlps);
  }

  void evaluate(QuantActivation& layer, const std::string& step) const {
    INFO(step);
    layer.eval();
    check_output(step, layer(get(step, "x")));
    layer.train();
  }

  void train(QuantActivation& layer, const std::string& step) const {
    INFO(step);
    Variable x(get(step, "x"), true);
    for (auto& [name, parameter] : layer.named_parameters()) parameter.zero_grad();
    const Variable y = layer(x);
    check_output(step, y);
    const Tensor grad_y = get(step, "grad_y");
    y.backward(grad_y);
    const double margin =
        scale_margin(grad_y, get(step, "int").to(DType::float32) - get(step, "zero_point").item());
    check_grad(x.grad(), get(step, "grad_x"), margin / layer.divisor());
    std::map<std::string, Variable> parameters;
    for (const auto& [name, parameter] : layer.named_parameters()) parameters[name] = parameter;
    std::map<std::string, Tensor> buffers;
    for (const auto& [name, buffer] : layer.named_buffers()) buffers[name] = buffer;
    const auto check_state = [&](const char* ours, const Tensor& actual, const char* theirs) {
      INFO(ours);
      CHECK(test::max_ulps(actual, get(step, theirs)) <= kUlps);
    };
    const auto check_parameter_grad = [&](const char* ours, const char* theirs, double allowed) {
      INFO(theirs);
      REQUIRE(parameters.at(ours).grad().defined());  // 0, not absent, while statistics are used
      check_grad(parameters.at(ours).grad(), get(step, theirs), allowed);
    };
    // When the parameter starts, the reference takes the log2 of the FixedPoint average in place; ours stays
    // an average.
    const bool in_log2 =
        quantizer().power_of_two && layer.collected_steps() > quantizer().collect_stats_steps;
    const double average = buffers.at("scale_buffer").item();
    check_state("scale_buffer", scalar(in_log2 ? std::log2(average) : average), "buffer_after");
    check_state("scale_value", parameters.at("scale_value").value(), "value_after");
    const double slope =
        quantizer().power_of_two ? get(step, "scale").item() * std::numbers::ln2 : 1 / layer.divisor();
    check_parameter_grad("scale_value", "grad_value", margin * slope);
    if (!quantizer().shifted) return;
    check_state("zp_buffer", buffers.at("zp_buffer"), "zp_buffer_after");
    check_state("zp_value", parameters.at("zp_value").value(), "zp_value_after");
    check_parameter_grad("zp_value", "grad_zp_value", 0);
  }
};

}  // namespace

TEST_CASE("golden: activation quantizers through statistics, parameter, evaluation and calibration") {
  const Golden golden("quant_act");
  for (int i = 0; i < golden.cases(); ++i) {
    INFO("case " << i << " " << golden.meta(i, "quantizer") << " " << golden.meta(i, "bit_width") << " bits, "
                 << golden.meta(i, "note"));
    const ActCase act{golden, i};
    const auto layer = act.layer();
    for (int step = 0; act.has("train" + std::to_string(step), "x"); ++step) {
      act.train(*layer, "train" + std::to_string(step));
      const std::string eval = "eval_after" + std::to_string(step);
      if (act.has(eval, "x")) act.evaluate(*layer, eval);
    }
    act.evaluate(*layer, "eval_end");

    const auto calibrated = act.layer();
    calibrated->set_calibrating(true);
    for (int step = 0; act.has("calib" + std::to_string(step), "x"); ++step) {
      const std::string name = "calib" + std::to_string(step);
      CHECK(test::same_elements(calibrated->forward(act.get(name, "x")).value(), act.get(name, "y")));
    }
    calibrated->set_calibrating(false);
    const auto parameters = calibrated->named_parameters();
    CHECK(test::max_ulps(parameters[0].second.value(), golden.tensor(i, "calib_value")) <= kUlps);
    if (act.quantizer().shifted)
      CHECK(test::max_ulps(parameters[1].second.value(), golden.tensor(i, "calib_zp_value")) <= kUlps);
    act.evaluate(*calibrated, "calib_eval");
    act.train(*calibrated, "calib_train");
  }
}
