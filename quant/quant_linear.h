#pragma once

#include "nn/linear.h"
#include "quant/quant_layer.h"

namespace nibble::quant {

// nn::Linear with quantized weight and bias. The output is a plain Variable.
class QuantLinear : public nn::Linear, public QuantLayer {
 public:
  QuantLinear(std::int64_t in_features, std::int64_t out_features, const nn::LinearOptions& options,
              const LayerQuantizers& quantizers, Rng& rng)
      : Linear(in_features, out_features, options, rng),
        QuantLayer(detail::concat("QuantLinear(", in_features, ", ", out_features, ")"), quantizers,
                   options.bias) {}

  Variable forward(const Variable& x) override {
    return run(x, weight(), bias(),
               [](const Variable& in, const Variable& w, const Variable& b) { return linear(in, w, b); });
  }
  Variable quantized_weight() override { return quantize_own_weight(weight()); }

 private:
  Variable own_bias() override { return bias(); }
};

}  // namespace nibble::quant
