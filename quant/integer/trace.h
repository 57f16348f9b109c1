#pragma once

#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace nibble::quant {

// What one layer made of a batch: int32 tensors [N, ...] in the logical order of its output.
struct LayerTrace {
  std::string name;
  Tensor accumulators;  // of convolutions and linear layers, before requantization; else undefined
  Tensor codes;         // of the last layer: the logits
};

// Every integer of one evaluation: "input" first, then every layer.
using IntTrace = std::vector<LayerTrace>;

}  // namespace nibble::quant
