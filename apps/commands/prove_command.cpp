#include "apps/commands/prove_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>

#include "apps/proof/integer_network.h"
#include "apps/proof/proof.h"
#include "apps/proof/proof_report.h"
#include "apps/terminal/output_file.h"
#include "apps/training/options.h"
#include "quant/integer/model_file.h"
#include "tensor/atomic_file.h"

namespace nibble {
namespace {

struct Options {
  CommonOptions common;
  std::string model, checkpoint, json;
  bool augment = false;
  CToolchain c_tools;
};

void prove(const Options& options) {
  check_writable(options.json);
  if (!options.c_tools.compiler.empty() && !c_compiler_available(options.c_tools))
    throw std::runtime_error("--cc: cannot run \"" + options.c_tools.compiler + "\", expected a C compiler");
  const quant::IntModel model = load_integer_model(options.model);
  // A checkpoint alone is proved against itself.
  const std::string checkpoint =
      options.checkpoint.empty() && !quant::is_nbq(options.model) ? options.model : options.checkpoint;
  std::optional<Run> run;
  if (!checkpoint.empty()) run.emplace(load_run(checkpoint));
  const RawImages images = raw_test_images(options.common, {.enabled = options.augment});
  const Proof proof = nibble::prove(model, run ? &run->model : nullptr, images, options.c_tools);
  print_proof(proof);
  if (!options.json.empty()) {
    const std::string text = proof_json(proof);
    write_file_atomically(options.json, std::as_bytes(std::span(text)));
  }
  for (const Producer& producer : proof.producers)
    if (producer.first)
      throw std::runtime_error(options.model + ": not equal: " + producer.name + ": " +
                               text_of(*producer.first));
}

}  // namespace

void add_prove_command(CLI::App& app) {
  CLI::App* command =
      app.add_subcommand("prove", "Prove that every way to run a model computes the same integers");
  auto options = std::make_shared<Options>();
  command->add_option("model", options->model, "Integer model (.nbq) or quantized checkpoint (.safetensors)")
      ->required();
  command->add_option("--checkpoint", options->checkpoint, "What the model was lowered from")
      ->type_name("CKPT");
  add_common_options(*command, options->common);
  command->add_flag("--augment", options->augment, "Images mirrored and rotated as the notebook has them");
  command->add_option("--cc", options->c_tools.compiler, "Compiler of the exported C program ($CC, else cc)")
      ->type_name("COMMAND");
  command
      ->add_option("--cc-runner", options->c_tools.runner, "What runs it where it is for another processor")
      ->type_name("COMMAND");
  command->add_option("--json", options->json, "Write the certificate there too")->type_name("FILE");
  command->footer(
      "Example: nibble prove model.nbq --checkpoint lab/qat-w4a4b16.safetensors --json certificate.json");
  command->callback([options] { prove(*options); });
}

}  // namespace nibble
