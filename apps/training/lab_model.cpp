#include "apps/training/lab_model.h"

#include <algorithm>
#include <array>
#include <memory>

#include "nn/activation.h"
#include "nn/conv2d.h"
#include "nn/flatten.h"
#include "nn/linear.h"
#include "nn/pool.h"
#include "quant/quant_activation.h"
#include "quant/quant_conv2d.h"
#include "quant/quant_linear.h"
#include "tensor/check.h"

namespace nibble {
namespace {

constexpr std::array<const char*, 4> kWeightQuantNames = {"fixed", "float", "channel-fixed", "channel-float"};
constexpr std::array<const char*, 2> kActQuantNames = {"float", "fixed"};

template <class Enum, std::size_t N>
Enum parse(const std::array<const char*, N>& names, const std::string& name, const char* what) {
  for (std::size_t i = 0; i < N; ++i)
    if (name == names[i]) return static_cast<Enum>(i);
  throw std::invalid_argument(std::string(what) + ": \"" + name + "\" is not a kind of quantizer");
}

int parse_bits(const std::map<std::string, std::string>& metadata, const std::string& key, int otherwise) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return otherwise;
  const std::string& text = found->second;
  NIBBLE_CHECK(!text.empty() && text.size() <= 2 && text.find_first_not_of("0123456789") == std::string::npos,
               "checkpoint: ", key, " is \"", text, "\", expected a number of bits");
  return std::stoi(text);
}

// Signed codes have at least two bits.
quant::ActQuantizer input_quantizer(const ModelSpec& spec) {
  const int bits = std::max(2, spec.act_bits);
  return spec.act_quant == ActQuant::fixed ? quant::Int8ActPerTensorFixedPoint(bits)
                                           : quant::Int8ActPerTensorFloat(bits);
}

quant::ActQuantizer relu_quantizer(const ModelSpec& spec) {
  return spec.act_quant == ActQuant::fixed ? quant::Uint8ActPerTensorFixedPoint(spec.act_bits)
                                           : quant::Uint8ActPerTensorFloat(spec.act_bits);
}

quant::LayerQuantizers layer_quantizers(const ModelSpec& spec) {
  quant::LayerQuantizers quantizers{weight_quantizer(spec), {}};
  if (spec.bias_bits != 0) quantizers.bias = quant::BiasQuantizer{spec.bias_bits};
  return quantizers;
}

using Layer = std::shared_ptr<nn::Module>;

Layer make_conv(std::int64_t in, std::int64_t out, const ModelSpec& spec, Rng& rng) {
  const nn::Conv2dOptions options{.padding = 1};
  if (spec.weight_bits == 32) return std::make_shared<nn::Conv2d>(in, out, 3, options, rng);
  return std::make_shared<quant::QuantConv2d>(in, out, 3, options, layer_quantizers(spec), rng);
}

Layer make_linear(std::int64_t in, std::int64_t out, const ModelSpec& spec, Rng& rng) {
  if (spec.weight_bits == 32) return std::make_shared<nn::Linear>(in, out, rng);
  return std::make_shared<quant::QuantLinear>(in, out, nn::LinearOptions{}, layer_quantizers(spec), rng);
}

Layer make_relu(const ModelSpec& spec) {
  if (spec.act_bits == 32) return std::make_shared<nn::ReLU>();
  return std::make_shared<quant::QuantReLU>(relu_quantizer(spec));
}

}  // namespace

quant::WeightQuantizer weight_quantizer(const ModelSpec& spec) {
  if (spec.weight_bits == 1) {
    // Brevitas' constant, or the power of two next to it: with fixed-point activations every scale is one,
    // and float arithmetic on codes is exact.
    constexpr double kPowerOfTwo = 0.125;
    return spec.act_bits != 32 && spec.act_quant == ActQuant::fixed
               ? quant::SignedBinaryWeightPerTensorConst(kPowerOfTwo)
               : quant::SignedBinaryWeightPerTensorConst();
  }
  switch (spec.weight_quant) {
    case WeightQuant::fixed:
      return quant::Int8WeightPerTensorFixedPoint(spec.weight_bits);
    case WeightQuant::floating:
      return quant::Int8WeightPerTensorFloat(spec.weight_bits);
    case WeightQuant::channel_fixed:
      return quant::Int8WeightPerChannelFixedPoint(spec.weight_bits);
    case WeightQuant::channel_floating:
      return quant::Int8WeightPerChannelFloat(spec.weight_bits);
  }
  throw std::logic_error("weight_quantizer: not a WeightQuant");
}

const char* name_of(WeightQuant quant) { return kWeightQuantNames[static_cast<std::size_t>(quant)]; }
const char* name_of(ActQuant quant) { return kActQuantNames[static_cast<std::size_t>(quant)]; }
WeightQuant parse_weight_quant(const std::string& name) {
  return parse<WeightQuant>(kWeightQuantNames, name, "--weight-quant");
}
ActQuant parse_act_quant(const std::string& name) {
  return parse<ActQuant>(kActQuantNames, name, "--act-quant");
}

void check_widths(const ModelSpec& spec) {
  const int weight = spec.weight_bits, act = spec.act_bits, bias = spec.bias_bits;
  NIBBLE_CHECK((weight >= 1 && weight <= 16) || weight == 32, "--weight-bits ", weight,
               ": expected 1 (binary), 2..16, or 32");
  NIBBLE_CHECK((act >= 1 && act <= 16) || act == 32, "--act-bits ", act, ": expected 1..16, or 32");
  NIBBLE_CHECK(bias == 0 || bias == 8 || bias == 16 || bias == 32, "--bias-bits ", bias,
               ": expected 8, 16, 32 or none");
  NIBBLE_CHECK(bias == 0 || (weight != 32 && act != 32), "--bias-bits ", bias,
               " needs quantized weights and activations: a bias takes its scale from both");
}

nn::Sequential make_lab_model(const ModelSpec& spec, Rng& rng) {
  check_widths(spec);
  nn::Sequential model;
  if (spec.act_bits != 32) model.add("identity", quant::QuantIdentity(input_quantizer(spec)));
  model.add("conv1", make_conv(1, 8, spec, rng));
  model.add("relu1", make_relu(spec));
  model.add("pool1", nn::MaxPool2d(2));
  model.add("conv2", make_conv(8, 16, spec, rng));
  model.add("relu2", make_relu(spec));
  model.add("pool2", nn::MaxPool2d(2));
  model.add("flatten", nn::Flatten{});
  model.add("linear", make_linear(16 * 7 * 7, 10, spec, rng));
  if (spec.softmax) model.add("softmax", nn::Softmax(1));
  return model;
}

void to_metadata(const ModelSpec& spec, std::map<std::string, std::string>& metadata) {
  metadata["model"] = "lab-cnn";
  metadata["output"] = spec.softmax ? "softmax" : "logits";
  metadata["weight_bits"] = std::to_string(spec.weight_bits);
  metadata["act_bits"] = std::to_string(spec.act_bits);
  metadata["bias_bits"] = spec.bias_bits == 0 ? "none" : std::to_string(spec.bias_bits);
  metadata["weight_quant"] = name_of(spec.weight_quant);
  metadata["act_quant"] = name_of(spec.act_quant);
}

ModelSpec spec_from_metadata(const std::map<std::string, std::string>& metadata) {
  const auto get = [&](const char* key, const char* otherwise) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::string(otherwise) : found->second;
  };
  const std::string model = get("model", "lab-cnn"), output = get("output", "softmax");
  NIBBLE_CHECK(model == "lab-cnn", "checkpoint: holds a model \"", model, "\", expected lab-cnn");
  NIBBLE_CHECK(output == "softmax" || output == "logits", "checkpoint: output is \"", output,
               "\", expected softmax or logits");
  ModelSpec spec;
  spec.softmax = output == "softmax";
  spec.weight_bits = parse_bits(metadata, "weight_bits", 32);
  spec.act_bits = parse_bits(metadata, "act_bits", 32);
  if (get("bias_bits", "none") != "none") spec.bias_bits = parse_bits(metadata, "bias_bits", 0);
  spec.weight_quant = parse_weight_quant(get("weight_quant", "fixed"));
  spec.act_quant = parse_act_quant(get("act_quant", "float"));
  check_widths(spec);
  return spec;
}

}  // namespace nibble
