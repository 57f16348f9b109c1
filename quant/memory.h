#pragma once

#include <string>
#include <vector>

#include "nn/sequential.h"

namespace nibble::quant {

// What a network occupies when its values are stored at their bit widths. Biases are ignored.
struct MemoryEntry {
  std::string layer;
  bool is_weight;  // else an activation
  std::int64_t values;
  int bit_width;

  double bytes() const { return static_cast<double>(values) * bit_width / 8; }
};

struct MemoryLedger {
  std::vector<MemoryEntry> entries;

  double weight_bytes() const;
  double activation_bytes() const;
};

// Weights of every layer, and the activations that have to be stored for one image: the input, and the output
// of every layer but those whose result is consumed on the fly (a convolution, linear layer or batch norm in
// front of its activation), that do not make new values (quantizers, flatten, dropout) or that follow the
// last linear layer (softmax). An output that carries no bit width of its own, such as the logits, counts
// with the width of the quantized activations before it; 32 bits where nothing is quantized. `sample` is one
// input, [1, ...]; the network is run on it in evaluation mode.
MemoryLedger memory_ledger(nn::Sequential& network, const Tensor& sample);

}  // namespace nibble::quant
