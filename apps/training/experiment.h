#pragma once

#include <cstdint>
#include <filesystem>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "apps/training/options.h"
#include "apps/training/run.h"
#include "data/loader.h"
#include "data/mnist.h"
#include "nn/trainer.h"

namespace nibble {

struct EpochResult {
  int epoch;  // counted from 1 over everything that trained this network
  nn::Progress train;
  nn::Evaluation test;
};

struct TrainingPlan {
  int epochs = 3;
  std::int64_t batch_size = 64;
  double stop_at = 2;         // test accuracy; above 1: never
  std::filesystem::path out;  // saved after every epoch, and when interrupted; empty: nowhere
  std::string label;          // names the run on the screen
};

TrainingPlan plan_of(const TrainingOptions& options, int default_epochs, const std::string& label);

// The images of one command, and what is done with them; by several threads at a time where they want.
class Experiment {
 public:
  explicit Experiment(const CommonOptions& options);

  const data::Mnist& data() const { return data_; }  // all of it, whatever --limit says
  std::int64_t train_size() const;
  std::int64_t test_size() const;

  // On the test images, augmented once and for all by the test seed.
  nn::Evaluation evaluate(nn::Module& model, const Augmentation& augmentation);

  // Returns the epochs it completed, and saves the run as it is if there are none to do. A loss that is not a
  // number throws std::runtime_error naming epoch and step, and leaves the last checkpoint as it was; Ctrl-C
  // finishes the step, saves and throws Interrupted.
  std::vector<EpochResult> train(Run& run, const TrainingPlan& plan);

  // Images of the first `count` batches of the run's next epoch, or of its frozen test set.
  std::vector<Tensor> training_images(const Run& run, std::int64_t batch_size, int count) const;
  std::vector<Tensor> test_images(const Run& run, std::int64_t batch_size, int count);

 private:
  std::int64_t steps_of_epoch(const TrainingPlan& plan) const;
  void check_resumed(const Run& run, const TrainingPlan& plan) const;
  nn::Progress train_epoch(Run& run, const TrainingPlan& plan, int last_epoch);
  data::DataLoader::Epoch training_epoch(const Run& run, std::int64_t batch_size) const;
  data::DataLoader::Epoch test_epoch(const Augmentation& augmentation, std::int64_t batch_size);

  data::Mnist data_;
  std::int64_t limit_;
  std::uint64_t test_seed_;
  std::mutex frozen_mutex_;
  data::Dataset frozen_;  // test set of the augmentation used last
  std::optional<Augmentation> frozen_for_;
};

}  // namespace nibble
