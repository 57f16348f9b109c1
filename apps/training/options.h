#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "apps/training/lab_model.h"

namespace CLI {
class App;
}

namespace nibble {

// What every command that computes takes.
struct CommonOptions {
  std::string data;                   // empty: $NIBBLE_DATA, then the cache
  std::optional<std::uint64_t> seed;  // unset: the start checkpoint's, else 0
  int threads = 0;                    // 0: OMP_NUM_THREADS or all cores
  std::int64_t limit = 0;             // first images of each split; 0: all
  std::uint64_t test_seed = 0;
};

struct TrainingOptions {
  std::string out, from;
  std::optional<int> epochs;
  std::int64_t batch_size = 64;
  double lr = 0.01, momentum = 0.9;
  std::string rotate;  // empty: the start checkpoint's, else the notebook's 45
  bool no_augment = false;
  bool logits = false;
  double stop_at = 2;  // never reached
};

struct QuantizationOptions {
  int weight_bits = 4, act_bits = 32;
  std::string bias_bits{};  // empty: 16 when weights and activations are quantized, else none
  std::string weight_quant = "fixed", act_quant = "float";
  std::string calibrate_on{};  // empty: ptq on train; qat not at all, its scales start as statistics
};

void add_common_options(CLI::App& command, CommonOptions& options);
void add_training_options(CLI::App& command, TrainingOptions& options);
void add_quantizer_options(CLI::App& command, QuantizationOptions& options);  // without the bit widths
void add_lab_options(CLI::App& command, TrainingOptions& options);  // those that suit the whole notebook
void add_bit_options(CLI::App& command, QuantizationOptions& options);

// Throws std::invalid_argument naming the flag when the combination is impossible.
ModelSpec quantized_spec(const QuantizationOptions& options, bool softmax);

}  // namespace nibble
