#pragma once

#include "nn/optimizer.h"

namespace nibble::nn {

struct SGDOptions {
  double lr = 0.01;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
};

// g += weight_decay * p;  buf = momentum * buf + (1 - dampening) * g, buf = g at the first step;
// p -= lr * buf, or lr * (g + momentum * buf) with nesterov: PyTorch's SGD. State: momentum_buffer.
class SGD : public Optimizer {
 public:
  SGD(NamedParameters parameters, const SGDOptions& options);

 private:
  void update(Tensor& parameter, const Tensor& grad, State& state) override;
  std::vector<std::string> state_names() const override { return {"momentum_buffer"}; }

  SGDOptions options_;
};

}  // namespace nibble::nn
