#include "apps/eval_command.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/experiment.h"
#include "apps/options.h"
#include "apps/print_result.h"

namespace nibble {
namespace {

struct Options {
  CommonOptions common;
  std::string checkpoint;
  bool no_augment = false;
};

void evaluate(const Options& options) {
  Run run = load_run(options.checkpoint);
  if (options.no_augment) run.augmentation.enabled = false;
  Experiment experiment(options.common);
  print_evaluation(experiment.evaluate(run.model, run.augmentation));
}

}  // namespace

void add_eval_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("eval", "Accuracy and loss of a checkpoint on the test images");
  auto options = std::make_shared<Options>();
  command->add_option("checkpoint", options->checkpoint, "Checkpoint (.safetensors)")->required();
  add_common_options(*command, options->common);
  command->add_flag("--no-augment", options->no_augment,
                    "Test images as they are, not as the checkpoint's training had them");
  command->footer("Example: nibble eval lab/fp32-e6.safetensors");
  command->callback([options] { evaluate(*options); });
}

}  // namespace nibble
