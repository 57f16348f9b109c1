#include "apps/profile_command.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/profile_train.h"
#include "apps/validators.h"

namespace nibble {

void add_profile_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("profile", "Measure where time goes, and what bounds it");
  command->require_subcommand(1);

  CLI::App* train = command->add_subcommand(
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

}  // namespace nibble
