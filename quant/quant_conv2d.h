#pragma once

#include "nn/conv2d.h"
#include "quant/quant_layer.h"

namespace nibble::quant {

// nn::Conv2d with quantized weight and bias. The output is a plain Variable: quantize it with what follows.
class QuantConv2d : public nn::Conv2d, public QuantLayer {
 public:
  QuantConv2d(std::int64_t in_channels, std::int64_t out_channels, Size2 kernel,
              const nn::Conv2dOptions& options, const LayerQuantizers& quantizers, Rng& rng)
      : Conv2d(in_channels, out_channels, kernel, options, rng),
        QuantLayer(detail::concat("QuantConv2d(", in_channels, ", ", out_channels, ")"), quantizers,
                   options.bias) {}

  Variable forward(const Variable& x) override {
    return run(x, weight(), bias(), [this](const Variable& in, const Variable& w, const Variable& b) {
      return conv2d(in, w, b, Conv2d::options());
    });
  }
  Variable quantized_weight() override { return quantize_own_weight(weight()); }

 private:
  Variable own_bias() override { return bias(); }
};

}  // namespace nibble::quant
