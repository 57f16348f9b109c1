#include "apps/training/experiment.h"

#include <fmt/core.h>

#include <cmath>
#include <stdexcept>

#include "apps/terminal/interrupt.h"
#include "apps/terminal/progress.h"
#include "tensor/parallel.h"

namespace nibble {
namespace {

// The activations of a larger batch do not fit the second-level cache.
constexpr std::int64_t kEvaluationBatch = 64;

[[noreturn]] void fail_diverged(const TrainingPlan& plan, int epoch, const std::string& where) {
  const bool saved = !plan.out.empty() && std::filesystem::exists(plan.out);
  const std::string kept = saved ? "; " + plan.out.string() + " keeps the last good checkpoint" : "";
  throw std::runtime_error(
      fmt::format("{}: the loss is not a number {} of epoch {}{}", plan.label, where, epoch, kept));
}

nn::BatchSource source(data::DataLoader::Epoch epoch) {
  return [epoch = std::move(epoch)](nn::Batch& batch) mutable {
    const std::optional<data::Batch> next = epoch.next();
    if (next) batch = {next->x, next->y};
    return next.has_value();
  };
}

std::vector<Tensor> first_images(data::DataLoader::Epoch epoch, int count) {
  std::vector<Tensor> batches;
  while (count-- > 0) {
    const std::optional<data::Batch> batch = epoch.next();
    if (!batch) break;
    batches.push_back(batch->x);
  }
  return batches;
}

}  // namespace

TrainingPlan plan_of(const TrainingOptions& options, int default_epochs, const std::string& label) {
  return {options.epochs.value_or(default_epochs), options.batch_size, options.stop_at, options.out, label};
}

Experiment::Experiment(const CommonOptions& options) : limit_(options.limit), test_seed_(options.test_seed) {
  if (options.threads > 0) set_num_threads(options.threads);
  data_ = data::load_mnist(data::find_data(options.data));
}

std::int64_t Experiment::train_size() const { return data::Dataset{data_.train, {}}.first(limit_).size(); }
std::int64_t Experiment::test_size() const { return data::Dataset{data_.test, {}}.first(limit_).size(); }

data::DataLoader::Epoch Experiment::training_epoch(const Run& run, std::int64_t batch_size) const {
  const data::Dataset images{data_.train, transforms_of(run.augmentation), run.seed};
  const data::DataLoader loader(images.first(limit_),
                                {.batch_size = batch_size, .shuffle = true, .seed = run.seed});
  data::DataLoader::Epoch epoch = loader.epoch(run.epochs);
  epoch.skip(run.steps);
  return epoch;
}

data::DataLoader::Epoch Experiment::test_epoch(const Augmentation& augmentation, std::int64_t batch_size) {
  const std::lock_guard lock(frozen_mutex_);
  if (frozen_for_ != augmentation) {
    const data::Dataset images{data_.test, transforms_of(augmentation), test_seed_};
    frozen_ = images.first(limit_).frozen();
    frozen_for_ = augmentation;
  }
  return data::DataLoader(frozen_, {.batch_size = batch_size}).epoch(0);
}

std::vector<Tensor> Experiment::training_images(const Run& run, std::int64_t batch_size, int count) const {
  return first_images(training_epoch(run, batch_size), count);
}

std::vector<Tensor> Experiment::test_images(const Run& run, std::int64_t batch_size, int count) {
  return first_images(test_epoch(run.augmentation, batch_size), count);
}

std::vector<EpochResult> Experiment::train(Run& run, const TrainingPlan& plan) {
  std::vector<EpochResult> results;
  const int last = run.epochs + plan.epochs;
  check_resumed(run, plan);
  while (run.epochs < last) {
    const int epoch = run.epochs + 1;
    if (interrupted()) throw Interrupted(fmt::format("interrupted before epoch {}", epoch));
    nn::Progress train;
    try {
      train = train_epoch(run, plan, last);
    } catch (const nn::NanLoss& error) {
      fail_diverged(plan, epoch, fmt::format("at step {}", error.step()));
    }
    run.epochs = epoch;
    run.steps = 0;
    nn::Evaluation test = evaluate(run.model, run.augmentation);
    // The last step of an epoch may spoil the weights after its own loss was still fine.
    if (!std::isfinite(test.total.loss())) fail_diverged(plan, epoch, "after the last step");
    if (!plan.out.empty()) save_run(plan.out, run);
    results.push_back({epoch, train, std::move(test)});
    if (results.back().test.total.accuracy() >= plan.stop_at) break;
  }
  if (results.empty() && !plan.out.empty()) save_run(plan.out, run);
  return results;
}

std::int64_t Experiment::steps_of_epoch(const TrainingPlan& plan) const {
  return (train_size() + plan.batch_size - 1) / plan.batch_size;
}

// Its position in the epoch is counted in batches of the size it was trained with.
void Experiment::check_resumed(const Run& run, const TrainingPlan& plan) const {
  if (plan.epochs > 0 && run.steps > steps_of_epoch(plan))
    throw std::invalid_argument(fmt::format(
        "the checkpoint was interrupted after step {} of an epoch, which has {} with --batch-size {}: go on "
        "with the images and the batch size it was trained with",
        run.steps, steps_of_epoch(plan), plan.batch_size));
}

nn::Evaluation Experiment::evaluate(nn::Module& model, const Augmentation& augmentation) {
  return nn::evaluate(model, source(test_epoch(augmentation, kEvaluationBatch)));
}

nn::Progress Experiment::train_epoch(Run& run, const TrainingPlan& plan, int last_epoch) {
  const std::int64_t first_step = run.steps;
  const std::int64_t steps = steps_of_epoch(plan);
  ProgressBar bar(fmt::format("{} epoch {}/{}", plan.label, run.epochs + 1, last_epoch), steps);
  bool stopped = false;
  const nn::Progress progress = nn::train_epoch(
      run.model, *run.optimizer, source(training_epoch(run, plan.batch_size)), [&](const nn::Progress& now) {
        bar.update(first_step + now.step, now.accuracy(), now.loss());
        stopped = interrupted() && first_step + now.step < steps;  // after the last one, the epoch is over
        return !stopped;
      });
  if (!stopped) return progress;
  run.steps = first_step + progress.step;
  if (plan.out.empty()) throw Interrupted("interrupted");
  save_run(plan.out, run);
  throw Interrupted(fmt::format("interrupted after step {} of epoch {}; saved {}", run.steps, run.epochs + 1,
                                plan.out.string()));
}

}  // namespace nibble
