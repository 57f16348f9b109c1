#pragma once

#include "nn/sequential.h"
#include "quant/integer/model.h"

namespace nibble::quant {

// The trained network as integers from raw pixels to logits, in evaluation mode, with the arithmetic of
// docs/integer-semantics.md. Lowered are QuantIdentity, QuantReLU, QuantConv2d, QuantLinear, BatchNorm2d
// (folded into the layer before it), MaxPool2d, AvgPool2d and AdaptiveAvgPool2d in front of a quantizer, ReLU
// in front of a quantizer, Flatten; Dropout and a last softmax are left out. The logits are the sums of the
// last layer; where its weights have a scale per channel they are brought to one scale, so that the largest
// is the answer.
//   image: [C, H, W] of the raw pixels; the network was trained on pixel / pixel_divisor.
// Throws std::invalid_argument, naming the layer and what to add, where something is not quantized, has no
// scale yet, or has no integer form, and where a sum could leave int32.
IntModel lower(nn::Sequential& network, const Shape& image, double pixel_divisor = 255);

}  // namespace nibble::quant
