#pragma once

#include "nn/optimizer.h"

namespace nibble::nn {

struct AdamOptions {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0;
};

// Kingma and Ba, "Adam", 2015; weight decay is added to the gradient (L2), the denominator is
// sqrt(v) / sqrt(1 - beta2^t) + eps, as in PyTorch. State: exp_avg, exp_avg_sq, step.
class Adam : public Optimizer {
 public:
  Adam(NamedParameters parameters, const AdamOptions& options)
      : Adam(std::move(parameters), options, false) {}

 protected:
  Adam(NamedParameters parameters, const AdamOptions& options, bool decoupled);

 private:
  void update(Tensor& parameter, const Tensor& grad, State& state) override;
  std::vector<std::string> state_names() const override { return {"exp_avg", "exp_avg_sq", "step"}; }

  AdamOptions options_;
  bool decoupled_;
};

struct AdamWOptions {
  double lr = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;  // PyTorch's default
};

// Loshchilov and Hutter, "Decoupled weight decay regularization", 2019: p *= 1 - lr * weight_decay first.
class AdamW : public Adam {
 public:
  AdamW(NamedParameters parameters, const AdamWOptions& o)
      : Adam(std::move(parameters), {o.lr, o.beta1, o.beta2, o.eps, o.weight_decay}, true) {}
};

}  // namespace nibble::nn
