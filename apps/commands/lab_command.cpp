#include "apps/commands/lab_command.h"

#include <CLI/CLI.hpp>
#include <memory>

#include "apps/lab/lab.h"

namespace nibble {

void add_lab_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("lab", "Run the whole notebook and write its report");
  auto options = std::make_shared<LabOptions>();
  options->training.out = "lab";
  add_common_options(*command, options->common);
  add_lab_options(*command, options->training);
  add_quantizer_options(*command, options->quantization);
  command->add_flag("--quick", options->quick, "1 epoch a stage, 2000 images, three rows of the sweep");
  command->footer("Example: nibble lab --quick --out lab");
  command->callback([options] { run_lab(*options); });
}

}  // namespace nibble
