#pragma once

#include <cstdint>
#include <functional>
#include <stdexcept>
#include <vector>

#include "nn/module.h"
#include "nn/optimizer.h"

namespace nibble::nn {

struct Batch {
  Tensor x;  // [N, ...] float32
  Tensor y;  // [N] int64
};

// Gives the batches of an epoch one by one; false at the end.
using BatchSource = std::function<bool(Batch&)>;

// Means over the samples seen so far.
struct Progress {
  std::int64_t step = 0;  // batches done
  std::int64_t samples = 0;
  std::int64_t correct = 0;
  double loss_sum = 0;  // per sample

  double loss() const { return samples > 0 ? loss_sum / static_cast<double>(samples) : 0; }
  double accuracy() const {
    return samples > 0 ? static_cast<double>(correct) / static_cast<double>(samples) : 0;
  }
};

// Called after every batch; false stops there.
using StepCallback = std::function<bool(const Progress&)>;

// The loss of a batch is not a number any more. The parameters are those before that step; running statistics
// (batch norm, quantizers) have seen its forward pass, so go back to a checkpoint.
class NanLoss : public std::runtime_error {
 public:
  explicit NanLoss(std::int64_t step);
  std::int64_t step() const { return step_; }  // 1-based

 private:
  std::int64_t step_;
};

// One pass of gradient steps on cross_entropy(model(x), y). Puts the model into training mode. Throws
// NanLoss.
Progress train_epoch(Module& model, Optimizer& optimizer, const BatchSource& batches,
                     const StepCallback& on_step = {});

struct Evaluation {
  Progress total;
  std::vector<std::int64_t> class_samples, class_correct;  // per class

  // Classes that occur and of which less than `recall` is recognised.
  std::vector<int> dead_classes(double recall = 0.05) const;
};

// Without gradients, in evaluation mode; the mode is restored.
Evaluation evaluate(Module& model, const BatchSource& batches, const StepCallback& on_step = {});

}  // namespace nibble::nn
