#include <memory>
#include <string>

#include "apps/training/run.h"
#include "autograd/no_grad.h"
#include "autograd/ops_loss.h"
#include "bench/measure.h"
#include "tensor/factory.h"

namespace nibble::bench {
namespace {

// Images as the loader delivers them: [N, 1, 28, 28] with the batch innermost in memory.
Tensor images(std::int64_t n, Rng& rng) { return uniform({1, 28, 28, n}, 0, 1, rng).permute({3, 0, 1, 2}); }

Tensor labels(std::int64_t n) {
  Tensor result = arange(n);
  for (std::int64_t& label : result.mutable_values<std::int64_t>()) label %= 10;
  return result;
}

void step(Run& run, const Tensor& x, const Tensor& y) {
  const Variable loss = cross_entropy(run.model(x), y);
  run.optimizer->zero_grad();
  loss.backward();
  run.optimizer->step();
}

std::function<void()> make_training(const ModelSpec& spec, std::int64_t n) {
  auto run = std::make_shared<Run>(spec, Augmentation{}, 1, nn::SGDOptions{.lr = 0.01, .momentum = 0.9});
  Rng rng(2);
  const Tensor x = images(n, rng), y = labels(n);
  return [=] { step(*run, x, y); };
}

// Weights and activations of 4 bits, biases of 16: the scales of activations are first statistics of each
// batch
// ("stats", the first 300 steps), then parameters ("param").
std::function<void()> make_quantized_training(std::int64_t n, bool parameters) {
  constexpr int kStepsOfStatistics = 300;
  const ModelSpec spec{.weight_bits = 4, .act_bits = 4, .bias_bits = 16};
  const auto train = make_training(spec, n);
  if (!parameters) {
    // A phase that ends: a network of its own for every run of steps.
    return [=, current = train, steps = 0]() mutable {
      if (steps++ == kStepsOfStatistics) {
        current = make_training(spec, n);
        steps = 1;
      }
      current();
    };
  }
  for (int i = 0; i < kStepsOfStatistics; ++i) train();
  return train;
}

std::function<void()> make_inference(std::int64_t n) {
  auto run = std::make_shared<Run>(ModelSpec{}, Augmentation{}, 1, nn::SGDOptions{});
  run->model.eval();
  Rng rng(2);
  const Tensor x = images(n, rng);
  return [=] {
    const NoGrad no_grad;
    benchmark::DoNotOptimize(run->model(x).value().data<float>());
  };
}

}  // namespace

void register_train_step() {
  for (int threads : {1, 2}) {
    add("train_step/batch:64", threads, "kimages/s", 64e-3, [] { return make_training({}, 64); });
    for (bool parameters : {false, true})
      add(std::string("qat_step/batch:64/phase:") + (parameters ? "param" : "stats"), threads, "kimages/s",
          64e-3, [parameters] { return make_quantized_training(64, parameters); });
    for (std::int64_t n : {1, 64, 1000})
      add("infer/batch:" + std::to_string(n), threads, "kimages/s", 1e-3 * static_cast<double>(n),
          [n] { return make_inference(n); });
  }
}

}  // namespace nibble::bench
