#include "quant/quantizer.h"

#include <map>

#include "tensor/check.h"

namespace nibble::quant {
namespace {

WeightQuantizer integer_weight(const char* name, int bit_width, bool power_of_two, bool per_channel) {
  NIBBLE_CHECK(bit_width != 1, name, ": 1 bit leaves no code but 0; use SignedBinaryWeightPerTensorConst");
  NIBBLE_CHECK(bit_width >= 2 && bit_width <= 16, name, ": bit_width is ", bit_width, ", expected 2 to 16");
  return {.bit_width = bit_width, .power_of_two = power_of_two, .per_channel = per_channel};
}

WeightQuantizer const_weight(const char* name, WeightKind kind, int bit_width, double scaling_const) {
  NIBBLE_CHECK(scaling_const > 0, name, ": scaling_const is ", scaling_const, ", expected a positive number");
  return {.kind = kind, .bit_width = bit_width, .scaling_const = scaling_const};
}

ActQuantizer integer_act(const char* name, int bit_width, bool is_signed, bool power_of_two,
                         bool shifted = false) {
  const int least = is_signed ? 2 : 1;
  NIBBLE_CHECK(bit_width >= least && bit_width <= 16, name, ": bit_width is ", bit_width, ", expected ",
               least, " to 16");
  return {.bit_width = bit_width, .is_signed = is_signed, .power_of_two = power_of_two, .shifted = shifted};
}

template <class Map>
auto find(const char* what, const Map& presets, const std::string& name) {
  const auto found = presets.find(name);
  NIBBLE_CHECK(found != presets.end(), what, ": no preset is called \"", name, "\"");
  return found->second;
}

}  // namespace

WeightQuantizer Int8WeightPerTensorFloat(int bit_width) {
  return integer_weight("Int8WeightPerTensorFloat", bit_width, false, false);
}
WeightQuantizer Int8WeightPerTensorFixedPoint(int bit_width) {
  return integer_weight("Int8WeightPerTensorFixedPoint", bit_width, true, false);
}
WeightQuantizer Int8WeightPerChannelFloat(int bit_width) {
  return integer_weight("Int8WeightPerChannelFloat", bit_width, false, true);
}
WeightQuantizer Int8WeightPerChannelFixedPoint(int bit_width) {
  return integer_weight("Int8WeightPerChannelFixedPoint", bit_width, true, true);
}
WeightQuantizer SignedBinaryWeightPerTensorConst(double scaling_const) {
  return const_weight("SignedBinaryWeightPerTensorConst", WeightKind::binary, 1, scaling_const);
}
WeightQuantizer SignedTernaryWeightPerTensorConst(double scaling_const) {
  return const_weight("SignedTernaryWeightPerTensorConst", WeightKind::ternary, 2, scaling_const);
}

ActQuantizer Int8ActPerTensorFloat(int bit_width) {
  return integer_act("Int8ActPerTensorFloat", bit_width, true, false);
}
ActQuantizer Int8ActPerTensorFixedPoint(int bit_width) {
  return integer_act("Int8ActPerTensorFixedPoint", bit_width, true, true);
}
ActQuantizer Uint8ActPerTensorFloat(int bit_width) {
  return integer_act("Uint8ActPerTensorFloat", bit_width, false, false);
}
ActQuantizer Uint8ActPerTensorFixedPoint(int bit_width) {
  return integer_act("Uint8ActPerTensorFixedPoint", bit_width, false, true);
}
ActQuantizer ShiftedUint8ActPerTensorFloat(int bit_width) {
  return integer_act("ShiftedUint8ActPerTensorFloat", bit_width, false, false, true);
}
ActQuantizer ShiftedUint8ActPerTensorFixedPoint(int bit_width) {
  return integer_act("ShiftedUint8ActPerTensorFixedPoint", bit_width, false, true, true);
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
