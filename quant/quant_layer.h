#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "autograd/variable.h"
#include "quant/quantizer.h"

namespace nibble::quant {

// What a layer with weight and bias is quantized with; an empty one stays in float.
struct LayerQuantizers {
  std::optional<WeightQuantizer> weight = Int8WeightPerTensorFloat();
  std::optional<BiasQuantizer> bias = {};
};

// The quantized part of QuantConv2d and QuantLinear: quantizes weight and bias around the float operation,
// and does what calibration and bias correction (calibrate.h) ask of a layer.
class QuantLayer {
 public:
  virtual ~QuantLayer() = default;

  const LayerQuantizers& quantizers() const { return quantizers_; }
  // The weight as the next forward pass would use it, annotated; the layer's own weight when it is not
  // quantized.
  virtual Variable quantized_weight() = 0;

  void set_calibrating(bool on) { calibrating_ = on; }

  void check_bias_correction();  // throws when there is no bias to correct
  void begin_bias_correction();
  // Adds the average error of all batches since begin to the bias.
  void end_bias_correction();

 protected:
  // `name` opens error messages.
  QuantLayer(std::string name, LayerQuantizers quantizers, bool has_bias);

  using Operation = std::function<Variable(const Variable& x, const Variable& weight, const Variable& bias)>;
  Variable run(const Variable& x, const Variable& weight, const Variable& bias, const Operation& operation);
  Variable quantize_own_weight(const Variable& weight) const;

 private:
  Variable quantized(const Variable& x, const Variable& weight, const Variable& bias,
                     const Operation& operation) const;
  virtual Variable own_bias() = 0;

  std::string name_;
  LayerQuantizers quantizers_;
  bool calibrating_ = false;
  bool correcting_ = false;
  std::vector<float> error_;  // per output channel, added up over batches
  std::int64_t corrected_batches_ = 0;
};

}  // namespace nibble::quant
