#pragma once

#include "autograd/ops_matmul.h"
#include "nn/module.h"
#include "tensor/random.h"

namespace nibble::nn {

struct LinearOptions {
  bool bias = true;
};

// [..., in_features] -> [..., out_features]. Parameters: weight [out_features, in_features] and bias
// [out_features], with PyTorch's initialisation.
class Linear : public Module {
 public:
  Linear(std::int64_t in_features, std::int64_t out_features, const LinearOptions& options, Rng& rng);
  Linear(std::int64_t in_features, std::int64_t out_features, Rng& rng)
      : Linear(in_features, out_features, {}, rng) {}

  Variable forward(const Variable& x) override { return linear(x, weight_, bias_); }

  const Variable& weight() const { return weight_; }
  const Variable& bias() const { return bias_; }  // undefined without bias

 private:
  Variable weight_, bias_;
};

}  // namespace nibble::nn
