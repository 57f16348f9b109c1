#include "quant/memory.h"

#include "autograd/no_grad.h"
#include "nn/activation.h"
#include "nn/batch_norm2d.h"
#include "nn/conv2d.h"
#include "nn/dropout.h"
#include "nn/eval_mode.h"
#include "nn/flatten.h"
#include "nn/linear.h"
#include "quant/quant_activation.h"
#include "quant/quant_layer.h"
#include "quant/quant_tensor.h"

namespace nibble::quant {
namespace {

template <class... Kinds>
bool is_any(const nn::Module* module) {
  return ((dynamic_cast<const Kinds*>(module) != nullptr) || ...);
}

bool is_activation(const nn::Module* m) { return is_any<nn::ReLU, nn::Sigmoid, nn::Tanh, QuantReLU>(m); }
bool computes_sums(const nn::Module* m) { return is_any<nn::Conv2d, nn::Linear, nn::BatchNorm2d>(m); }
bool makes_no_values(const nn::Module* m) {
  return is_any<nn::Flatten, nn::Dropout, nn::Softmax, nn::LogSoftmax, QuantIdentity>(m);
}

int weight_bits(nn::Module* module) {
  const auto* layer = dynamic_cast<const QuantLayer*>(module);
  return layer != nullptr && layer->quantizers().weight ? layer->quantizers().weight->bit_width : 32;
}

double bytes_of(const std::vector<MemoryEntry>& entries, bool weights) {
  double bytes = 0;
  for (const MemoryEntry& entry : entries)
    if (entry.is_weight == weights) bytes += entry.bytes();
  return bytes;
}

}  // namespace

double MemoryLedger::weight_bytes() const { return bytes_of(entries, true); }
double MemoryLedger::activation_bytes() const { return bytes_of(entries, false); }

MemoryLedger memory_ledger(nn::Sequential& network, const Tensor& sample) {
  const nn::EvalMode eval_mode(network);
  const NoGrad no_grad;

  MemoryLedger ledger;
  const auto& layers = network.named_children();
  Variable x(sample);
  int bits = 32;
  ledger.entries.push_back({"input", false, sample.numel(), bits});
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto& [name, module] = layers[i];
    x = module->forward(x);
    if (QuantTensor::is_quantized(x)) bits = QuantTensor(x).bit_width();
    if (i == 0) ledger.entries.front().bit_width = bits;
    for (const auto& [parameter, value] : module->named_parameters())
      if (parameter == "weight" && computes_sums(module.get()))
        ledger.entries.push_back({name, true, value.value().numel(), weight_bits(module.get())});
    const bool consumed =
        computes_sums(module.get()) && i + 1 < layers.size() &&
        (is_activation(layers[i + 1].second.get()) || is_any<nn::BatchNorm2d>(layers[i + 1].second.get()));
    if (!consumed && !makes_no_values(module.get()))
      ledger.entries.push_back({name, false, x.value().numel(), bits});
  }
  return ledger;
}

}  // namespace nibble::quant
