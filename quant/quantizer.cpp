#include "quant/quantizer.h"

#include <cmath>
#include <map>

#include "tensor/check.h"

namespace nibble::quant {
namespace {

WeightQuantizer integer_weight(int bit_width, bool power_of_two, bool per_channel) {
  const WeightQuantizer quantizer{
      .bit_width = bit_width, .power_of_two = power_of_two, .per_channel = per_channel};
  check(quantizer);
  return quantizer;
}

WeightQuantizer const_weight(WeightKind kind, int bit_width, double scaling_const) {
  const WeightQuantizer quantizer{.kind = kind, .bit_width = bit_width, .scaling_const = scaling_const};
  check(quantizer);
  return quantizer;
}

ActQuantizer integer_act(int bit_width, bool is_signed, bool power_of_two, bool shifted = false) {
  const ActQuantizer quantizer{
      .bit_width = bit_width, .is_signed = is_signed, .power_of_two = power_of_two, .shifted = shifted};
  check(quantizer);
  return quantizer;
}

template <class Map>
auto find(const char* what, const Map& presets, const std::string& name) {
  const auto found = presets.find(name);
  NIBBLE_CHECK(found != presets.end(), what, ": no preset is called \"", name, "\"");
  return found->second;
}

}  // namespace

void check(const WeightQuantizer& quantizer) {
  const int bits = quantizer.bit_width;
  switch (quantizer.kind) {
    case WeightKind::integer:
      NIBBLE_CHECK(bits != 1, "weight quantizer: 1 bit, narrow range, leaves no code but 0; use ",
                   "SignedBinaryWeightPerTensorConst");
      NIBBLE_CHECK(bits >= 2 && bits <= 16, "weight quantizer: bit_width is ", bits, ", expected 2 to 16");
      return;
    case WeightKind::binary:
    case WeightKind::ternary:
      NIBBLE_CHECK(bits == (quantizer.kind == WeightKind::binary ? 1 : 2), "weight quantizer: bit_width is ",
                   bits, ", expected 1 for binary, 2 for ternary weights");
      NIBBLE_CHECK(quantizer.scaling_const > 0 && std::isfinite(quantizer.scaling_const),
                   "weight quantizer: scaling_const is ", quantizer.scaling_const,
                   ", expected a positive number");
      return;
  }
}

void check(const ActQuantizer& quantizer) {
  const int least = quantizer.is_signed ? 2 : 1;
  NIBBLE_CHECK(quantizer.bit_width >= least && quantizer.bit_width <= 16,
               "activation quantizer: bit_width is ", quantizer.bit_width, ", expected ", least,
               " to 16 for ", quantizer.is_signed ? "signed" : "unsigned", " codes");
  NIBBLE_CHECK(!quantizer.shifted || !quantizer.is_signed, "activation quantizer: a shifted one is unsigned");
  for (const double q : {quantizer.percentile, quantizer.low_percentile})
    NIBBLE_CHECK(q >= 0 && q <= 100, "activation quantizer: percentile ", q, ", expected 0 to 100");
  NIBBLE_CHECK(quantizer.momentum >= 0 && quantizer.momentum <= 1, "activation quantizer: momentum ",
               quantizer.momentum, ", expected 0 to 1");
  NIBBLE_CHECK(quantizer.collect_stats_steps >= 0, "activation quantizer: collect_stats_steps ",
               quantizer.collect_stats_steps, ", expected 0 or more");
}

void check(const BiasQuantizer& quantizer) {
  NIBBLE_CHECK(quantizer.bit_width >= 2 && quantizer.bit_width <= 32, "bias quantizer: bit_width is ",
               quantizer.bit_width, ", expected 2 to 32");
}

WeightQuantizer Int8WeightPerTensorFloat(int bit_width) { return integer_weight(bit_width, false, false); }
WeightQuantizer Int8WeightPerTensorFixedPoint(int bit_width) {
  return integer_weight(bit_width, true, false);
}
WeightQuantizer Int8WeightPerChannelFloat(int bit_width) { return integer_weight(bit_width, false, true); }
WeightQuantizer Int8WeightPerChannelFixedPoint(int bit_width) {
  return integer_weight(bit_width, true, true);
}
WeightQuantizer SignedBinaryWeightPerTensorConst(double scaling_const) {
  return const_weight(WeightKind::binary, 1, scaling_const);
}
WeightQuantizer SignedTernaryWeightPerTensorConst(double scaling_const) {
  return const_weight(WeightKind::ternary, 2, scaling_const);
}

ActQuantizer Int8ActPerTensorFloat(int bit_width) { return integer_act(bit_width, true, false); }
ActQuantizer Int8ActPerTensorFixedPoint(int bit_width) { return integer_act(bit_width, true, true); }
ActQuantizer Uint8ActPerTensorFloat(int bit_width) { return integer_act(bit_width, false, false); }
ActQuantizer Uint8ActPerTensorFixedPoint(int bit_width) { return integer_act(bit_width, false, true); }
ActQuantizer ShiftedUint8ActPerTensorFloat(int bit_width) {
  return integer_act(bit_width, false, false, true);
}
ActQuantizer ShiftedUint8ActPerTensorFixedPoint(int bit_width) {
  return integer_act(bit_width, false, true, true);
}

BiasQuantizer Int8Bias() { return {8}; }
BiasQuantizer Int16Bias() { return {16}; }
BiasQuantizer Int32Bias() { return {32}; }

WeightQuantizer weight_quantizer(const std::string& name, int bit_width) {
  if (name == "SignedBinaryWeightPerTensorConst") return SignedBinaryWeightPerTensorConst();
  if (name == "SignedTernaryWeightPerTensorConst") return SignedTernaryWeightPerTensorConst();
  static const std::map<std::string, WeightQuantizer (*)(int)> presets = {
      {"Int8WeightPerTensorFloat", Int8WeightPerTensorFloat},
      {"Int8WeightPerTensorFixedPoint", Int8WeightPerTensorFixedPoint},
      {"Int8WeightPerChannelFloat", Int8WeightPerChannelFloat},
      {"Int8WeightPerChannelFixedPoint", Int8WeightPerChannelFixedPoint}};
  return find("weight_quantizer", presets, name)(bit_width);
}

ActQuantizer act_quantizer(const std::string& name, int bit_width) {
  static const std::map<std::string, ActQuantizer (*)(int)> presets = {
      {"Int8ActPerTensorFloat", Int8ActPerTensorFloat},
      {"Int8ActPerTensorFixedPoint", Int8ActPerTensorFixedPoint},
      {"Uint8ActPerTensorFloat", Uint8ActPerTensorFloat},
      {"Uint8ActPerTensorFixedPoint", Uint8ActPerTensorFixedPoint},
      {"ShiftedUint8ActPerTensorFloat", ShiftedUint8ActPerTensorFloat},
      {"ShiftedUint8ActPerTensorFixedPoint", ShiftedUint8ActPerTensorFixedPoint}};
  return find("act_quantizer", presets, name)(bit_width);
}

BiasQuantizer bias_quantizer(const std::string& name) {
  static const std::map<std::string, BiasQuantizer (*)()> presets = {
      {"Int8Bias", Int8Bias}, {"Int16Bias", Int16Bias}, {"Int32Bias", Int32Bias}};
  return find("bias_quantizer", presets, name)();
}

}  // namespace nibble::quant
