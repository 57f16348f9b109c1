#include "apps/commands/qat_command.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/training/experiment.h"
#include "apps/training/options.h"
#include "apps/training/print_result.h"
#include "apps/training/quantize.h"

namespace nibble {
namespace {

struct Options {
  CommonOptions common;
  TrainingOptions training;
  QuantizationOptions quantization;
};

void train_quantized(const Options& options) {
  check_checkpoint_path(options.training.out);
  const Run start = start_run(options.common, options.training);
  const ModelSpec spec = quantized_spec(options.quantization, start.spec.softmax);
  Experiment experiment(options.common);
  Run run = quantized_copy(start, spec, start.seed);
  const TrainingPlan plan = plan_of(options.training, 3, "qat");
  calibrate_if_asked(run, experiment, options.quantization.calibrate_on, plan.batch_size);
  const auto epochs = experiment.train(run, plan);
  print_epochs(epochs);
  print_memory(run);
  print_evaluation(epochs.empty() ? experiment.evaluate(run.model, run.augmentation) : epochs.back().test);
}

}  // namespace

void add_qat_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("qat", "Train with quantized weights and activations");
  auto options = std::make_shared<Options>();
  add_common_options(*command, options->common);
  add_training_options(*command, options->training);
  add_bit_options(*command, options->quantization);
  add_quantizer_options(*command, options->quantization);
  command->footer(
      "Example: nibble qat --from fp32.safetensors --weight-bits 4 --act-bits 4 --out qat.safetensors");
  command->callback([options] { train_quantized(*options); });
}

}  // namespace nibble
