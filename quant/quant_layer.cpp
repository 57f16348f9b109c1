#include "quant/quant_layer.h"

#include "quant/bias_quant.h"
#include "quant/quant_tensor.h"
#include "quant/weight_quant.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/reduce.h"

namespace nibble::quant {

QuantLayer::QuantLayer(std::string name, LayerQuantizers quantizers, bool has_bias)
    : name_(std::move(name)), quantizers_(std::move(quantizers)) {
  if (quantizers_.weight) check(*quantizers_.weight);
  if (quantizers_.bias) check(*quantizers_.bias);
  NIBBLE_CHECK(!quantizers_.bias || has_bias, name_, ": has a bias quantizer but no bias");
  NIBBLE_CHECK(!quantizers_.bias || quantizers_.weight, name_,
               ": a quantized bias needs a quantized weight, whose scale it takes");
}

Variable QuantLayer::quantize_own_weight(const Variable& weight) const {
  return quantizers_.weight ? quantize_weight(weight, *quantizers_.weight) : weight;
}

Variable QuantLayer::quantized(const Variable& x, const Variable& weight, const Variable& bias,
                               const Operation& operation) const {
  const Variable w = quantize_own_weight(weight);
  Variable b = bias;
  if (quantizers_.bias) {
    NIBBLE_CHECK(QuantTensor::is_quantized(x), name_,
                 ": input scale required: a quantized bias takes its scale from the input, which is not "
                 "quantized; put a "
                 "QuantIdentity or QuantReLU before the layer");
    b = quantize_bias(bias, QuantTensor(x).scale(), QuantTensor(w).scale(), *quantizers_.bias);
  }
  return operation(x, w, b);
}

Variable QuantLayer::run(const Variable& x, const Variable& weight, const Variable& bias,
                         const Operation& operation) {
  if (calibrating_) return operation(x, weight, bias);
  if (!correcting_) return quantized(x, weight, bias, operation);

  // The float output goes on to the next layer, so that errors of earlier layers do not reach later ones.
  const Variable in_float = operation(x, weight, bias);
  const Variable in_codes = quantized(x, weight, bias, operation);
  std::vector<int> dims;
  for (int i = 0; i < in_float.value().rank(); ++i)
    if (i != 1) dims.push_back(i);
  const Tensor error = sub(mean(in_float.value(), dims), mean(in_codes.value(), dims)).contiguous();
  error_.resize(static_cast<std::size_t>(error.numel()));
  for (std::size_t i = 0; i < error_.size(); ++i) error_[i] += error.data<float>()[i];
  ++corrected_batches_;
  return in_float;
}

void QuantLayer::check_bias_correction() {
  NIBBLE_CHECK(own_bias().defined(), name_, ": bias correction needs a bias");
}

void QuantLayer::begin_bias_correction() {
  correcting_ = true;
  error_.clear();
  corrected_batches_ = 0;
}

void QuantLayer::end_bias_correction() {
  correcting_ = false;
  if (corrected_batches_ == 0) return;
  Variable bias = own_bias();
  const auto values = bias.mutable_value().mutable_values<float>();
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] += error_[i] / static_cast<float>(corrected_batches_);
}

}  // namespace nibble::quant
