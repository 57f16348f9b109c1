#include "apps/commands/ptq_command.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <string>

#include "apps/training/experiment.h"
#include "apps/training/options.h"
#include "apps/training/print_result.h"
#include "apps/training/quantize.h"
#include "tensor/check.h"

namespace nibble {
namespace {

struct Options {
  CommonOptions common;
  TrainingOptions training;
  QuantizationOptions quantization;
};

void quantize(const Options& options) {
  check_checkpoint_path(options.training.out);
  Run start = start_run(options.common, options.training);
  NIBBLE_CHECK(!start.spec.is_quantized(), "ptq: ", options.training.from, " is quantized already");
  const ModelSpec spec = quantized_spec(options.quantization, start.spec.softmax);
  Experiment experiment(options.common);
  TrainingPlan plan = plan_of(options.training, options.training.from.empty() ? 6 : 0, "ptq: float");
  plan.out.clear();  // --out is for the quantized network
  print_epochs(experiment.train(start, plan));

  Run run = quantized_copy(start, spec, start.seed);
  const std::string split =
      options.quantization.calibrate_on.empty() ? "train" : options.quantization.calibrate_on;
  const auto images = calibration_images(run, experiment, parse_calibration_split(split), plan.batch_size);
  calibrate(run, images);
  correct_biases(run, images);
  if (!options.training.out.empty()) save_run(options.training.out, run);
  print_memory(run);
  print_evaluation(experiment.evaluate(run.model, run.augmentation));
}

}  // namespace

void add_ptq_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand(
      "ptq",
      "Quantize after training: calibrate, correct biases. Without --from, trains 6 epochs in float first");
  auto options = std::make_shared<Options>();
  add_common_options(*command, options->common);
  add_training_options(*command, options->training);
  add_bit_options(*command, options->quantization);
  add_quantizer_options(*command, options->quantization);
  command->get_option("--epochs")->description("In float, before quantizing (0 with --from, else 6)");
  command->footer("Example: nibble ptq --from fp32.safetensors --weight-bits 4 --out ptq.safetensors");
  command->callback([options] { quantize(*options); });
}

}  // namespace nibble
