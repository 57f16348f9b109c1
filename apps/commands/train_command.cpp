#include "apps/commands/train_command.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/training/experiment.h"
#include "apps/training/options.h"
#include "apps/training/print_result.h"

namespace nibble {
namespace {

struct Options {
  CommonOptions common;
  TrainingOptions training;
};

void train(const Options& options) {
  check_checkpoint_path(options.training.out);
  Experiment experiment(options.common);
  Run run = start_run(options.common, options.training);
  const auto epochs = experiment.train(run, plan_of(options.training, 3, "train"));
  print_epochs(epochs);
  print_evaluation(epochs.empty() ? experiment.evaluate(run.model, run.augmentation) : epochs.back().test);
}

}  // namespace

void add_train_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("train", "Train the lab's network in float, or go on training a checkpoint");
  auto options = std::make_shared<Options>();
  add_common_options(*command, options->common);
  add_training_options(*command, options->training);
  command->footer("Example: nibble train --epochs 3 --out fp32.safetensors");
  command->callback([options] { train(*options); });
}

}  // namespace nibble
