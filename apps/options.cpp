#include "apps/options.h"

#include <CLI/CLI.hpp>

namespace nibble {
namespace {

// Unlike CLI::Range this refuses NaN too.
CLI::Validator between(double low, double high, const std::string& text) {
  return CLI::Validator(
      [low, high, text](std::string& input) {
        double value = 0;
        const bool inside = CLI::detail::lexical_cast(input, value) && value >= low && value <= high;
        return inside ? std::string() : "must be " + text + ", not " + input;
      },
      "");
}

// CLI11 would read -3 as 2^64 - 3.
CLI::Validator not_negative() {
  return CLI::Validator(
      [](std::string& input) {
        return input.empty() || input.front() != '-' ? std::string() : "must not be negative, got " + input;
      },
      "");
}

void add_step_options(CLI::App& command, TrainingOptions& options) {
  command.add_option("--batch-size", options.batch_size)
      ->check(between(1, 65536, "1..65536"))
      ->capture_default_str();
  command.add_option("--lr", options.lr, "Learning rate")
      ->check(between(0, 1e30, "0 or more"))
      ->capture_default_str();
  command.add_option("--momentum", options.momentum)->check(between(0, 1, "0..1"))->capture_default_str();
  CLI::Option* rotate =
      command.add_option("--rotate", options.rotate, "DEG or LO,HI: range of the random rotation (45)");
  command.add_flag("--no-augment", options.no_augment, "Images neither mirrored nor rotated")
      ->excludes(rotate);
}

}  // namespace

void add_common_options(CLI::App& command, CommonOptions& options) {
  command.add_option("--data", options.data,
                     "Folder with the IDX files (else $NIBBLE_DATA, ~/.cache/nibble/mnist)");
  command.add_option("--seed", options.seed, "Of initialisation, shuffling and augmentation (0)")
      ->check(not_negative());
  command.add_option("--test-seed", options.test_seed, "Of the frozen augmented test set")
      ->check(not_negative())

      ->capture_default_str();
  command.add_option("--threads", options.threads, "Default: OMP_NUM_THREADS or all cores")
      ->check(between(1, 1024, "1..1024"));
  command.add_option("--limit", options.limit, "Only the first N images of each split")
      ->check(between(1, 1e9, "at least 1"));
}

void add_lab_options(CLI::App& command, TrainingOptions& options) {
  command.add_option("--out", options.out, "Folder for everything that is written")->capture_default_str();
  command.add_option("--epochs", options.epochs, "Of each stage (3)")->check(between(1, 100000, "1..100000"));
  add_step_options(command, options);
}

void add_training_options(CLI::App& command, TrainingOptions& options) {
  command.add_option("--out", options.out, "Checkpoint to write (.safetensors)");
  command.add_option("--from", options.from, "Checkpoint to start from");
  command.add_option("--epochs", options.epochs, "Passes over the training images")
      ->check(between(0, 100000, "0..100000"));
  add_step_options(command, options);
  command.add_flag("--logits", options.logits, "No softmax in the model: cross entropy on the logits");
  command.add_option("--stop-at", options.stop_at, "Stop after an epoch with this test accuracy (0..1)")
      ->check(between(0, 1, "0..1"));
}

void add_quantizer_options(CLI::App& command, QuantizationOptions& options) {
  command
      .add_option("--bias-bits", options.bias_bits,
                  "8, 16, 32 or none (16 if weights and activations have codes)")
      ->check(CLI::IsMember({"8", "16", "32", "none"}));
  command.add_option("--weight-quant", options.weight_quant, "Scale of the weights")
      ->check(CLI::IsMember({"fixed", "float", "channel-fixed", "channel-float"}))
      ->capture_default_str();
  command.add_option("--act-quant", options.act_quant, "Scale of the activations")
      ->check(CLI::IsMember({"float", "fixed"}))
      ->capture_default_str();
  command.add_option("--calibrate-on", options.calibrate_on, "Split that calibrates; the notebook's is test")
      ->check(CLI::IsMember({"train", "test"}))
      ->capture_default_str();
}

void add_bit_options(CLI::App& command, QuantizationOptions& options) {
  command.add_option("--weight-bits", options.weight_bits, "1 (binary), 2..16, or 32 for float")
      ->check(between(1, 32, "1..16 or 32"))
      ->capture_default_str();
  command.add_option("--act-bits", options.act_bits, "2..16, or 32 for float")
      ->check(between(1, 32, "2..16 or 32"))
      ->capture_default_str();
}

ModelSpec quantized_spec(const QuantizationOptions& options, bool softmax) {
  ModelSpec spec;
  spec.weight_bits = options.weight_bits;
  spec.act_bits = options.act_bits;
  spec.weight_quant = parse_weight_quant(options.weight_quant);
  spec.act_quant = parse_act_quant(options.act_quant);
  spec.softmax = softmax;
  if (options.bias_bits.empty())
    spec.bias_bits = spec.weight_bits != 32 && spec.act_bits != 32 ? 16 : 0;
  else if (options.bias_bits != "none")
    spec.bias_bits = std::stoi(options.bias_bits);
  check_widths(spec);
  return spec;
}

}  // namespace nibble
