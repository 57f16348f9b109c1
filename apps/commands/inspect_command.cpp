#include "apps/commands/inspect_command.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <optional>
#include <string>

#include "apps/commands/print_tensor.h"
#include "apps/lab/activation_demo.h"
#include "apps/training/options.h"
#include "apps/training/run.h"
#include "nn/state_dict.h"
#include "quant/inspect.h"
#include "tensor/check.h"

namespace nibble {
namespace {

struct Options {
  std::string checkpoint, layer;
  std::optional<int> bits;
  std::optional<std::string> weight_quant;
  bool demo_act = false;
};

Tensor weight_of(const Run& run, const std::string& layer) {
  std::string layers;
  for (const auto& [name, tensor] : nn::state_dict(run.model)) {
    if (name == layer + ".weight") return tensor;
    if (name.ends_with(".weight")) layers += " " + name.substr(0, name.size() - 7);
  }
  throw std::invalid_argument("inspect: no layer \"" + layer + "\" with a weight; there are:" + layers);
}

void inspect_layer(const Options& options) {
  const Run run = load_run(options.checkpoint);
  ModelSpec spec = run.spec;
  if (spec.weight_bits == 32) spec.weight_bits = 4;
  if (options.bits) spec.weight_bits = *options.bits;
  if (options.weight_quant) spec.weight_quant = parse_weight_quant(*options.weight_quant);
  spec.bias_bits = 0;
  check_widths(spec);
  NIBBLE_CHECK(spec.weight_bits != 32,
               "--bits 32: a float weight has no codes; expected 1 (binary) or 2..16");

  const quant::WeightReport report =
      quant::inspect_weight(weight_of(run, options.layer), weight_quantizer(spec));
  fmt::print("{}.weight, float:\n{}\n\ninteger codes:\n{}\n\n", options.layer, format_tensor(report.weight),
             format_tensor(report.codes));
  fmt::print("scale {}\nbit width {}\ndifference float - quantized: max {:.6f} min {:.6f} mean {:.6f}\n",
             format_numbers(report.scale), report.bit_width, report.max_difference, report.min_difference,
             report.mean_difference);
}

void inspect(const Options& options) {
  if (options.demo_act) return print_demo(demonstrate_activation(options.bits.value_or(2)));
  NIBBLE_CHECK(!options.checkpoint.empty() && !options.layer.empty(),
               "inspect: expected a checkpoint and a layer, or --demo-act");
  inspect_layer(options);
}

}  // namespace

void add_inspect_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("inspect", "Show a layer's weights beside their integer codes");
  auto options = std::make_shared<Options>();
  command->add_option("checkpoint", options->checkpoint, "Checkpoint (.safetensors)");
  command->add_option("layer", options->layer, "conv1, conv2 or linear");
  command->add_option("--bits", options->bits,
                      "Bit width (the checkpoint's; 4 for float weights, 2 for --demo-act)");
  command
      ->add_option("--weight-quant", options->weight_quant,
                   "Scale of the weights (the checkpoint's, else fixed)")
      ->check(CLI::IsMember({"fixed", "float", "channel-fixed", "channel-float"}));
  command->add_flag("--demo-act", options->demo_act, "Ten numbers through QuantIdentity instead");
  command->footer(
      "Examples: nibble inspect fp32.safetensors conv1 --bits 4\n          nibble inspect --demo-act --bits "
      "2");
  command->callback([options] { inspect(*options); });
}

}  // namespace nibble
