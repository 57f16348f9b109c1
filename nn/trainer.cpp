#include "nn/trainer.h"

#include <cmath>

#include "autograd/no_grad.h"
#include "autograd/ops_loss.h"
#include "nn/eval_mode.h"
#include "tensor/reduce.h"

namespace nibble::nn {
namespace {

// Adds a batch to `progress`; returns its predicted classes.
Tensor count(Progress& progress, const Tensor& outputs, const Tensor& y, double loss) {
  const Tensor predicted = argmax(outputs, 1);
  const auto answers = predicted.values<std::int64_t>();
  const auto labels = y.values<std::int64_t>();
  for (std::size_t i = 0; i < answers.size(); ++i) progress.correct += answers[i] == labels[i];
  const auto samples = static_cast<std::int64_t>(answers.size());
  progress.samples += samples;
  progress.loss_sum += loss * static_cast<double>(samples);
  ++progress.step;
  return predicted;
}

}  // namespace

NanLoss::NanLoss(std::int64_t step)
    : std::runtime_error(detail::concat("the loss is not a number at step ", step)), step_(step) {}

Progress train_epoch(Module& model, Optimizer& optimizer, const BatchSource& batches,
                     const StepCallback& on_step) {
  model.train();
  Progress progress;
  for (Batch batch; batches(batch);) {
    const Variable outputs = model(batch.x);
    const Variable loss = cross_entropy(outputs, batch.y);
    const double value = loss.value().item();
    if (!std::isfinite(value)) throw NanLoss(progress.step + 1);
    optimizer.zero_grad();
    loss.backward();
    optimizer.step();
    count(progress, outputs.value(), batch.y, value);
    if (on_step && !on_step(progress)) break;
  }
  return progress;
}

std::vector<int> Evaluation::dead_classes(double recall) const {
  std::vector<int> dead;
  for (std::size_t c = 0; c < class_samples.size(); ++c)
    if (class_samples[c] > 0 &&
        static_cast<double>(class_correct[c]) < recall * static_cast<double>(class_samples[c]))
      dead.push_back(static_cast<int>(c));
  return dead;
}

Evaluation evaluate(Module& model, const BatchSource& batches, const StepCallback& on_step) {
  const EvalMode eval_mode(model);
  const NoGrad no_grad;
  Evaluation result;
  for (Batch batch; batches(batch);) {
    const Tensor outputs = model(batch.x).value();
    const double loss = cross_entropy(outputs, batch.y).value().item();
    const Tensor predicted = count(result.total, outputs, batch.y, loss);
    result.class_samples.resize(static_cast<std::size_t>(outputs.size(1)));
    result.class_correct.resize(static_cast<std::size_t>(outputs.size(1)));
    for (std::int64_t i = 0; i < batch.y.numel(); ++i) {
      const auto label = static_cast<std::size_t>(batch.y.data<std::int64_t>()[i]);
      ++result.class_samples[label];
      result.class_correct[label] += predicted.data<std::int64_t>()[i] == static_cast<std::int64_t>(label);
    }
    if (on_step && !on_step(result.total)) break;
  }
  return result;
}

}  // namespace nibble::nn
