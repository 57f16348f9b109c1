#pragma once

#include <string>
#include <vector>

#include "nn/batch_norm2d.h"
#include "nn/sequential.h"
#include "quant/integer/model.h"
#include "quant/quant_activation.h"

// What lowering and the deploy graph both read off a trained network. Everything throws std::invalid_argument
// that names the layer and says what to add, and expects the network in evaluation mode.

namespace nibble::quant {

struct NamedModule {
  std::string name;  // dotted below nested Sequentials
  nn::Module* module;
};

// The layers in order; what changes nothing in evaluation (Dropout) and a last (log-)softmax, which keeps the
// order of the logits, are left out.
std::vector<NamedModule> layers_of(nn::Sequential& network);

// Scale, zero point and range that the quantizer evaluates with. A QuantReLU starts at its zero point.
CodeFormat format_of(const std::string& name, QuantActivation& activation);

// The codes that the values x (float32) get, int32.
Tensor codes_of(QuantActivation& activation, const Tensor& x);

// Weight and bias of a QuantConv2d or QuantLinear on codes of `input`, not requantized. A bias without a
// quantizer is rounded to a whole number of units of input scale * weight scale.
IntProduct product_of(const NamedModule& layer, const CodeFormat& input);

// An average over windows as the sum of its codes, every channel for itself: a convolution by ones whose
// weight_scale is 1 / (size of the window). `shape` is [C, H, W]; adaptive pooling needs windows of one size.
IntProduct average_of(const NamedModule& layer, const Shape& shape);

// The same layer followed by batch norm: y = (acc - mean) * gamma / deviation + beta goes into bias
// (rounded), weight_scale and, where gamma is negative, the signs of the weights.
void fold(IntProduct& product, const std::string& name, const nn::BatchNorm2d& norm, const CodeFormat& input);

}  // namespace nibble::quant
