#include "quant/inspect.h"

#include <set>

#include "autograd/no_grad.h"
#include "quant/quant_layer.h"
#include "quant/quant_tensor.h"
#include "quant/weight_quant.h"
#include "tensor/elementwise.h"
#include "tensor/reduce.h"

namespace nibble::quant {

WeightReport inspect_weight(const Tensor& weight, const WeightQuantizer& quantizer) {
  const NoGrad no_grad;
  // A copy: binary quantizers clamp the weight in place.
  const QuantTensor q(quantize_weight(Variable(weight.clone()), quantizer));
  const Tensor difference = sub(weight, q.value().value());
  return {weight,
          q.value().value(),
          q.codes(),
          q.scale().value(),
          q.bit_width(),
          max(difference).item(),
          min(difference).item(),
          mean(difference).item()};
}

std::map<std::string, std::int64_t> distinct_codes(nn::Module& network) {
  const NoGrad no_grad;
  std::map<std::string, std::int64_t> result;
  for (const auto& [name, module] : network.named_modules()) {
    auto* const layer = dynamic_cast<QuantLayer*>(module);
    if (layer == nullptr || !layer->quantizers().weight) continue;
    const Tensor codes = QuantTensor(layer->quantized_weight()).codes();
    const auto values = codes.values<std::int32_t>();
    result[name] = static_cast<std::int64_t>(std::set<std::int32_t>(values.begin(), values.end()).size());
  }
  return result;
}

}  // namespace nibble::quant
