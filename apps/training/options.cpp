#include "apps/training/options.h"

#include <string>

#include "apps/terminal/validators.h"

namespace nibble {
namespace {

void add_step_options(CLI::App& command, TrainingOptions& options) {
  command.add_option("--batch-size", options.batch_size, "Images per step (64)")
      ->type_name("N")
      ->check(between(1, 65536, "1..65536"));
  command.add_option("--lr", options.lr, "Learning rate (0.01)")
      ->type_name("X")
      ->check(between(0, 1e30, "0 or more"));
  command.add_option("--momentum", options.momentum, "Of SGD (0.9)")
      ->type_name("X")
      ->check(between(0, 1, "0..1"));
  command.add_option("--rotate", options.rotate, "Random rotation: DEG or LO,HI (45)")->type_name("DEG");
  command.add_flag("--no-augment", options.no_augment, "Images neither mirrored nor rotated");
  command.add_option("--stop-at", options.stop_at, "Stop after an epoch with this test accuracy (0..1)")
      ->type_name("ACC")
      ->check(between(0, 1, "0..1"));
}

}  // namespace

void add_common_options(CLI::App& command, CommonOptions& options) {
  command.get_formatter()->column_width(28);
  command.add_option("--data", options.data, "IDX files (else $NIBBLE_DATA, ~/.cache/nibble/mnist)")
      ->type_name("DIR");
  command.add_option("--seed", options.seed, "Of initialisation, shuffling, augmentation (0)")
      ->type_name("N")
      ->check(seed());
  command.add_option("--test-seed", options.test_seed, "Of the frozen augmented test set (0)")
      ->type_name("N")
      ->check(seed());
  command.add_option("--threads", options.threads, "Else OMP_NUM_THREADS or all cores")
      ->type_name("N")
      ->check(between(1, 1024, "1..1024"));
  command.add_option("--limit", options.limit, "Only the first N images of each split")
      ->type_name("N")
      ->check(between(1, 1e9, "at least 1"));
}

void add_lab_options(CLI::App& command, TrainingOptions& options) {
  command.add_option("--out", options.out, "Folder for everything that is written (lab)")->type_name("DIR");
  command.add_option("--epochs", options.epochs, "Of each stage (3)")
      ->type_name("N")
      ->check(between(1, 100000, "1..100000"));
  add_step_options(command, options);
}

void add_training_options(CLI::App& command, TrainingOptions& options) {
  command.add_option("--out", options.out, "Checkpoint to write (.safetensors)")->type_name("CKPT");
  command.add_option("--from", options.from, "Checkpoint to start from")->type_name("CKPT");
  command.add_option("--epochs", options.epochs, "Passes over the training images (3)")
      ->type_name("N")
      ->check(between(0, 100000, "0..100000"));
  add_step_options(command, options);
  command.add_flag("--logits", options.logits, "No softmax in the model: cross entropy on the logits");
}

void add_quantizer_options(CLI::App& command, QuantizationOptions& options) {
  command.add_option("--bias-bits", options.bias_bits, "8|16|32|none (16 if all else is quantized)")
      ->type_name("N")
      ->check(one_of({"8", "16", "32", "none"}));
  command
      .add_option("--weight-quant", options.weight_quant, "fixed|float|channel-fixed|channel-float (fixed)")
      ->type_name("SCALE")
      ->check(one_of({"fixed", "float", "channel-fixed", "channel-float"}));
  command.add_option("--act-quant", options.act_quant, "float|fixed (float)")
      ->type_name("SCALE")
      ->check(one_of({"float", "fixed"}));
  command
      .add_option("--calibrate-on", options.calibrate_on, "train|test: split that calibrates (ptq: train)")
      ->type_name("SPLIT")
      ->check(one_of({"train", "test"}));
}

void add_bit_options(CLI::App& command, QuantizationOptions& options) {
  command.add_option("--weight-bits", options.weight_bits, "1 (binary), 2..16, or 32 for float (4)")
      ->type_name("N")
      ->check(between(1, 32, "1..16 or 32"));
  command.add_option("--act-bits", options.act_bits, "1..16, or 32 for float (32)")
      ->type_name("N")
      ->check(between(1, 32, "1..16 or 32"));
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
