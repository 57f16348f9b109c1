#include "apps/commands/eval_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/proof/integer_network.h"
#include "apps/training/experiment.h"
#include "apps/training/options.h"
#include "apps/training/print_result.h"
#include "quant/integer/model_file.h"
#include "tensor/check.h"
#include "tensor/parallel.h"

namespace nibble {
namespace {

struct Options {
  CommonOptions common;
  std::string checkpoint;
  bool no_augment = false, augment = false;
};

// Raw pixels to logits in integers.
void evaluate_integers(const Options& options) {
  const quant::IntEngine engine(load_integer_model(options.checkpoint));
  const RawImages images = raw_test_images(options.common, {.enabled = options.augment});
  const IntegerEvaluation result = evaluate(engine, images);
  fmt::print("accuracy {:.4f} ({}/{})\n{:.0f} images/s on {} threads, {}, arena {} bytes\n",
             result.accuracy(), result.correct, result.samples, result.images_per_second, num_threads(),
             name_of(engine.isa()), engine.arena_bytes());
}

void evaluate(const Options& options) {
  if (quant::is_nbq(options.checkpoint)) return evaluate_integers(options);
  NIBBLE_CHECK(!options.augment,
               "--augment is for integer models: a checkpoint knows how its images were augmented");
  Run run = load_run(options.checkpoint);
  if (options.no_augment) run.augmentation.enabled = false;
  Experiment experiment(options.common);
  print_evaluation(experiment.evaluate(run.model, run.augmentation));
}

}  // namespace

void add_eval_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("eval", "Accuracy of a checkpoint or integer model on the test images");
  auto options = std::make_shared<Options>();
  command->add_option("checkpoint", options->checkpoint, "Checkpoint (.safetensors) or integer model (.nbq)")
      ->required();
  add_common_options(*command, options->common);
  command->add_flag("--no-augment", options->no_augment,
                    "Test images as they are, not as the checkpoint's training had them");
  command->add_flag("--augment", options->augment,
                    "For .nbq: images mirrored and rotated as the notebook has them");
  command->footer("Example: nibble eval lab/fp32-e6.safetensors");
  command->callback([options] { evaluate(*options); });
}

}  // namespace nibble
