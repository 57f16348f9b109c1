#include "apps/commands/lower_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>

#include "apps/commands/print_integer_model.h"
#include "apps/proof/integer_network.h"
#include "apps/terminal/output_file.h"
#include "quant/integer/model_file.h"
#include "tensor/check.h"

namespace nibble {
namespace {

struct Options {
  std::string checkpoint, out;
};

void lower(const Options& options) {
  NIBBLE_CHECK(options.out.empty() || quant::is_nbq(options.out), "--out ", options.out,
               ": expected a name in .nbq");
  check_writable(options.out);
  const quant::IntModel model = load_integer_model(options.checkpoint);
  print_integer_model(model);
  if (options.out.empty()) return;
  quant::save_nbq(options.out, model);
  fmt::print("{}: {} bytes, SHA-256 {}\n", options.out, std::filesystem::file_size(options.out),
             quant::sha256_of(model));
}

}  // namespace

void add_lower_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("lower", "Turn a quantized checkpoint into integers");
  auto options = std::make_shared<Options>();
  command
      ->add_option("checkpoint", options->checkpoint, "Checkpoint (.safetensors), or a .nbq file to look at")
      ->required();
  command->add_option("--out", options->out, "Integer model to write (.nbq)")->type_name("MODEL");
  command->footer("Example: nibble lower lab/qat-w4a4b16.safetensors --out model.nbq");
  command->callback([options] { lower(*options); });
}

}  // namespace nibble
