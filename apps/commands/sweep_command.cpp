#include "apps/commands/sweep_command.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <memory>
#include <vector>

#include "apps/terminal/output_file.h"
#include "apps/terminal/progress.h"
#include "apps/training/experiment.h"
#include "apps/training/options.h"
#include "apps/training/print_result.h"
#include "apps/training/quantize.h"
#include "apps/training/side_by_side.h"
#include "tensor/check.h"

namespace nibble {
namespace {

struct Options {
  CommonOptions common;
  TrainingOptions training;
  QuantizationOptions quantization;
  std::vector<int> weight_bits{2, 4, 8}, act_bits{2, 4, 8};
};

void check_distinct(const char* flag, std::vector<int> bits) {
  std::sort(bits.begin(), bits.end());
  const auto twice = std::adjacent_find(bits.begin(), bits.end());
  NIBBLE_CHECK(twice == bits.end(), flag, ": ", *twice, " is given twice");
}

void sweep(const Options& options) {
  check_distinct("--act-bits", options.act_bits);
  check_distinct("--weight-bits", options.weight_bits);
  const std::filesystem::path folder = options.training.out;
  if (!folder.empty()) make_output_folder(folder);
  const Run start = start_run(options.common, options.training);
  std::vector<ModelSpec> specs;  // all checked before the first is trained
  for (int act_bits : options.act_bits) {
    for (int weight_bits : options.weight_bits) {
      QuantizationOptions quantization = options.quantization;
      quantization.weight_bits = weight_bits;
      quantization.act_bits = act_bits;
      specs.push_back(quantized_spec(quantization, start.spec.softmax));
    }
  }
  Experiment experiment(options.common);
  fmt::print("{:14} {:>4} {:>7} {:>9} {:>8} {:>11}\n", "name", "acts", "weights", "accuracy", "loss",
             "memory KiB");
  std::fflush(stdout);
  struct Row {
    std::string name, text;
    std::vector<int> dead_classes;
  };
  std::vector<Row> rows(specs.size());
  const auto train = [&](std::size_t i) {
    const ModelSpec& spec = specs[i];
    const std::string name = fmt::format("sweep-a{}w{}", spec.act_bits, spec.weight_bits);
    Run run = quantized_copy(start, spec, seed_of_run(start.seed, name));
    TrainingPlan plan = plan_of(options.training, 3, name);
    if (!folder.empty()) plan.out = folder / (name + ".safetensors");
    calibrate_if_asked(run, experiment, options.quantization.calibrate_on, plan.batch_size);
    const auto epochs = experiment.train(run, plan);
    const nn::Evaluation test =
        epochs.empty() ? experiment.evaluate(run.model, run.augmentation) : epochs.back().test;
    rows[i] = {name,
               fmt::format("{:14} {:4} {:7} {:9.4f} {:8.4f} {:11.3f}", name, spec.act_bits, spec.weight_bits,
                           test.total.accuracy(), test.total.loss(), total_kib(memory_of(run))),
               test.dead_classes()};
  };
  side_by_side(specs.size(), train, [&](std::size_t i) {
    warn_of_dead_classes(rows[i].dead_classes, rows[i].name);
    print_line(rows[i].text);
  });
}

}  // namespace

void add_sweep_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("sweep", "Train one quantized network for each pair of bit widths");
  auto options = std::make_shared<Options>();
  add_common_options(*command, options->common);
  add_training_options(*command, options->training);
  command->get_option("--out")->type_name("DIR")->description("Folder for one checkpoint per network");
  command->add_option("--act-bits", options->act_bits, "Each 1..16, or 32 for float (2,4,8)")
      ->type_name("LIST")
      ->delimiter(',');
  command
      ->add_option("--weight-bits", options->weight_bits, "Each 1 (binary), 2..16, or 32 for float (2,4,8)")
      ->type_name("LIST")
      ->delimiter(',');
  add_quantizer_options(*command, options->quantization);
  command->footer(
      "Example: nibble sweep --from fp32.safetensors --act-bits 2,4,8 --weight-bits 2,4,8 --out sweep");
  command->callback([options] { sweep(*options); });
}

}  // namespace nibble
