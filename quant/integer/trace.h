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

// The tensors of a trace in order, for whoever treats them alike: "input codes", "conv1 accumulators", "conv1
// codes" ...
struct TracedTensor {
  std::string name;
  Tensor values;
};
inline std::vector<TracedTensor> tensors_of(const IntTrace& trace) {
  std::vector<TracedTensor> tensors;
  for (const LayerTrace& layer : trace) {
    if (layer.accumulators.defined()) tensors.push_back({layer.name + " accumulators", layer.accumulators});
    tensors.push_back({layer.name + " codes", layer.codes});
  }
  return tensors;
}

}  // namespace nibble::quant
