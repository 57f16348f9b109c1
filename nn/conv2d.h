#pragma once

#include "autograd/ops_conv.h"
#include "nn/module.h"
#include "tensor/random.h"

namespace nibble::nn {

struct Conv2dOptions {
  Size2 stride = 1;
  Size2 padding = 0;
  Size2 dilation = 1;
  std::int64_t groups = 1;
  bool bias = true;
};

// [N, in_channels, H, W] -> [N, out_channels, OH, OW]; sizes as tensor/conv.h. Parameters: weight
// [out_channels, in_channels / groups, kernel.h, kernel.w] and bias [out_channels], with PyTorch's
// initialisation.
class Conv2d : public Module {
 public:
  Conv2d(std::int64_t in_channels, std::int64_t out_channels, Size2 kernel, const Conv2dOptions& options,
         Rng& rng);

  Variable forward(const Variable& x) override { return conv2d(x, weight_, bias_, options_); }

  const Variable& weight() const { return weight_; }
  const Variable& bias() const { return bias_; }  // undefined without bias
  const ConvOptions& options() const { return options_; }

 private:
  ConvOptions options_;
  Variable weight_, bias_;
};

}  // namespace nibble::nn
