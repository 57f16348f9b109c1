#pragma once

#include <cstdint>
#include <string>

namespace nibble::quant {

// Presets with Brevitas' names and defaults; the default width is in the name, another may be given:
//   QuantConv2d conv(1, 8, 3, {.padding = 1}, {Int8WeightPerTensorFixedPoint(4), Int16Bias()}, rng);
// The formulas are in weight_quant.h, quant_activation.h and bias_quant.h.

enum class WeightKind { integer, binary, ternary };

struct WeightQuantizer {
  WeightKind kind = WeightKind::integer;
  int bit_width = 8;
  bool power_of_two = false;   // FixedPoint: the scale is rounded up to a power of two
  bool per_channel = false;    // one scale per output channel
  double scaling_const = 0.1;  // binary and ternary: the scale
};

struct ActQuantizer {
  int bit_width = 8;
  bool is_signed = true;
  bool power_of_two = false;
  bool shifted = false;                    // asymmetric: with a zero point, unsigned
  double percentile = 99.999;              // of |x| (shifted: of x) that maps to the largest code
  double low_percentile = 0.001;           // shifted: of x, clamped to at most 0
  std::int64_t collect_stats_steps = 300;  // training steps that use and average batch statistics
  double momentum = 0.1;                   // of that average
};

struct BiasQuantizer {
  int bit_width = 16;
};

// Weights: symmetric, narrow range, 2 to 16 bits; throws std::invalid_argument otherwise (1 bit: use
// SignedBinaryWeightPerTensorConst).
WeightQuantizer Int8WeightPerTensorFloat(int bit_width = 8);
WeightQuantizer Int8WeightPerTensorFixedPoint(int bit_width = 8);
WeightQuantizer Int8WeightPerChannelFloat(int bit_width = 8);
WeightQuantizer Int8WeightPerChannelFixedPoint(int bit_width = 8);
WeightQuantizer SignedBinaryWeightPerTensorConst(double scaling_const = 0.1);
WeightQuantizer SignedTernaryWeightPerTensorConst(double scaling_const = 0.1);

// Activations: signed 2 to 16 bits, unsigned 1 to 16.
ActQuantizer Int8ActPerTensorFloat(int bit_width = 8);
ActQuantizer Int8ActPerTensorFixedPoint(int bit_width = 8);
ActQuantizer Uint8ActPerTensorFloat(int bit_width = 8);
ActQuantizer Uint8ActPerTensorFixedPoint(int bit_width = 8);
ActQuantizer ShiftedUint8ActPerTensorFloat(int bit_width = 8);
ActQuantizer ShiftedUint8ActPerTensorFixedPoint(int bit_width = 8);

// Biases take the scale input_scale * weight_scale.
BiasQuantizer Int8Bias();
BiasQuantizer Int16Bias();
BiasQuantizer Int32Bias();

// Throws std::invalid_argument when the fields contradict each other or a width is out of range.
void check(const WeightQuantizer& quantizer);
void check(const ActQuantizer& quantizer);
void check(const BiasQuantizer& quantizer);

// By name, at the given width (binary and ternary keep theirs); throws on an unknown name.
WeightQuantizer weight_quantizer(const std::string& name, int bit_width);
ActQuantizer act_quantizer(const std::string& name, int bit_width);
BiasQuantizer bias_quantizer(const std::string& name);

}  // namespace nibble::quant
