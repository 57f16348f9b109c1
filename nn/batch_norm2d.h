#pragma once

#include "nn/module.h"

namespace nibble::nn {

struct BatchNorm2dOptions {
  double eps = 1e-5;
  double momentum = 0.1;  // running = (1 - momentum) * running + momentum * batch
};

// y = (x - mean) / sqrt(variance + eps) * weight + bias with mean and (biased) variance per channel of x [N,
// C, H, W]; weight and bias [C]. Differentiable with respect to all three.
struct BatchNormResult {
  Variable y, mean, variance;  // the latter [1, C, 1, 1]
};
BatchNormResult batch_norm2d(const Variable& x, const Variable& weight, const Variable& bias, double eps);

// y = (x - mean) / sqrt(var + eps) * weight + bias per channel of [N, C, H, W] (Ioffe and Szegedy, 2015).
// In training mean and var are those of the batch (biased variance) and the running values are updated
// (unbiased variance); in evaluation the running values are used. State: weight, bias; running_mean,
// running_var.
class BatchNorm2d : public Module {
 public:
  explicit BatchNorm2d(std::int64_t channels, const BatchNorm2dOptions& options = {});
  // Throws in training when a channel has fewer than two values.
  Variable forward(const Variable& x) override;

  const Variable& weight() const { return weight_; }
  const Variable& bias() const { return bias_; }
  const Tensor& running_mean() const { return running_mean_; }
  const Tensor& running_var() const { return running_var_; }
  const BatchNorm2dOptions& options() const { return options_; }

 private:
  BatchNorm2dOptions options_;
  Variable weight_, bias_;
  Tensor running_mean_, running_var_, num_batches_tracked_;
};

}  // namespace nibble::nn
