#include "apps/commands/profile_command.h"

#include <CLI/CLI.hpp>
#include <memory>
#include <stdexcept>

#include "apps/profile/kernel_operands.h"
#include "apps/profile/profile_kernels.h"
#include "apps/profile/profile_train.h"
#include "apps/terminal/validators.h"

namespace nibble {
namespace {

CLI::Validator kernel_shape() {
  return CLI::Validator(
      [](std::string& input) -> std::string {
        try {
          parse_kernel_shape(input);
          return {};
        } catch (const std::invalid_argument& error) {
          return error.what();
        }
      },
      "");
}

void add_train(CLI::App& command) {
  CLI::App* train = command.add_subcommand(
      "train", "A training step, operation by operation: time, work, share of what the machine can do");
  auto options = std::make_shared<ProfileTrainOptions>();
  add_bit_options(*train, options->quantization);
  train->get_option("--weight-bits")->description("1 (binary), 2..16, or 32 for float (32)");
  add_quantizer_options(*train, options->quantization);
  train->remove_option(train->get_option("--calibrate-on"));
  train->add_option("--batch-size", options->batch_size, "Images a step (64)")
      ->type_name("N")
      ->check(between(1, 100000, "1..100000"));
  train->add_option("--steps", options->steps, "Measured steps (300)")
      ->type_name("N")
      ->check(between(1, 1000000, "1..1000000"));
  train->add_option("--warm-up", options->warm_up, "Steps before them; scales are parameters after 300 (20)")
      ->type_name("N")
      ->check(between(0, 1000000, "0..1000000"));
  train->add_option("--threads", options->threads, "Else OMP_NUM_THREADS or all cores")
      ->type_name("N")
      ->check(between(1, 1024, "1..1024"));
  train->add_option("--json", options->json, "Write the same figures here")->type_name("FILE");
  train->footer(
      "Example: nibble profile train --threads 1\n"
      "         nibble profile train --weight-bits 4 --act-bits 4 --warm-up 300");
  train->callback([options] { profile_train(*options); });
}

void add_kernels(CLI::App& command) {
  CLI::App* kernels = command.add_subcommand(
      "kernels", "Integer products of every width: speed, share of what the machine can do, and why");
  auto options = std::make_shared<ProfileKernelsOptions>();
  kernels->add_option("--shape", options->shapes, "Rows x columns x depth; may be repeated (five layers)")
      ->type_name("MxNxK")
      ->take_all()
      ->expected(1)
      ->check(kernel_shape());
  kernels->add_option("--why", options->why, "Measure this shape, and explain which widths are faster there")
      ->type_name("MxNxK")
      ->check(kernel_shape());
  kernels->add_option("--threads", options->threads, "Threads (1)")
      ->type_name("N")
      ->check(between(1, 1024, "1..1024"));
  kernels->add_flag("--quick", options->quick, "Small shapes, short measurements, no cold weights");
  kernels->add_option("--json", options->json, "Write all figures here")->type_name("FILE");
  kernels->add_option("--out", options->out, "Write figures as PNG into this folder")->type_name("DIR");
  kernels->footer(
      "Example: nibble profile kernels --out out --json out/kernels.json\n"
      "         NIBBLE_ISA=avx2 nibble profile kernels --why 1x4096x4096");
  kernels->callback([options] { profile_kernels(*options); });
}

}  // namespace

void add_profile_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("profile", "Measure where time goes, and what bounds it");
  command->require_subcommand(1);
  add_train(*command);
  add_kernels(*command);
}

}  // namespace nibble
