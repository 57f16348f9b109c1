#pragma once

#include <map>
#include <string>

#include "nn/sequential.h"
#include "quant/quantizer.h"
#include "tensor/random.h"

namespace nibble {

enum class WeightQuant { fixed, floating, channel_fixed, channel_floating };
enum class ActQuant { floating, fixed };

// What the lab's network is built with. A width of 32: not quantized.
struct ModelSpec {
  int weight_bits = 32;  // 1: binary
  int act_bits = 32;
  int bias_bits = 0;  // 0: not quantized (32 is Int32Bias)
  WeightQuant weight_quant = WeightQuant::fixed;
  ActQuant act_quant = ActQuant::floating;
  bool softmax = true;  // the notebook's network ends in a softmax

  bool is_quantized() const { return weight_bits != 32 || act_bits != 32; }
  friend bool operator==(const ModelSpec&, const ModelSpec&) = default;
};

// Throws std::invalid_argument, naming the flag, when no network can be built with these widths.
void check_widths(const ModelSpec& spec);

// The notebook's network on [N, 1, 28, 28], with its names:
//   conv1 1->8 3x3, relu1, pool1, conv2 8->16 3x3, relu2, pool2, flatten, linear 784->10, softmax
// Convolutions keep the size, pools halve it. Quantized activations add an `identity` before conv1 and turn
// relu1 and relu2 into QuantReLU; quantized weights or biases turn conv1, conv2 and linear into their Quant
// twins. Parameters keep their names, so a float checkpoint loads into any of them. Checks the
// widths.
nn::Sequential make_lab_model(const ModelSpec& spec, Rng& rng);

// What make_lab_model quantizes weights with; spec.weight_bits below 32.
quant::WeightQuantizer weight_quantizer(const ModelSpec& spec);

const char* name_of(WeightQuant quant);
const char* name_of(ActQuant quant);
WeightQuant parse_weight_quant(const std::string& name);
ActQuant parse_act_quant(const std::string& name);

// Checkpoint metadata. from_metadata gives the float network for a file without any (one PyTorch wrote) and
// throws std::invalid_argument on metadata that names another model or widths that are not numbers.
void to_metadata(const ModelSpec& spec, std::map<std::string, std::string>& metadata);
ModelSpec spec_from_metadata(const std::map<std::string, std::string>& metadata);

}  // namespace nibble
