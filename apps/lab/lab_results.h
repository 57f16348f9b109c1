#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace nibble {

struct EpochRecord {
  int epoch;  // counted from 1 over everything that trained the network
  double train_loss, train_accuracy, test_loss, test_accuracy;
};

// A quantized network lowered to integers (quant/integer/lowering.h) and run as such on the test images.
struct IntegerRecord {
  std::int64_t file_bytes = 0;  // of its .nbq file
  std::int64_t correct = 0, samples = 0;
  double images_per_second = 0;  // on one thread

  double accuracy() const {
    return samples > 0 ? static_cast<double>(correct) / static_cast<double>(samples) : 0;
  }
  double microseconds() const { return images_per_second > 0 ? 1e6 / images_per_second : 0; }
};

// One network of the lab. 32 bits: not quantized.
struct RunRecord {
  std::string name;  // "fp32-e3" ...
  int weight_bits = 32, act_bits = 32, bias_bits = 32;
  int epochs = 0;  // in total, the start checkpoint's included
  std::int64_t correct = 0, samples = 0;
  double test_loss = 0;
  std::vector<int> dead_classes;
  double weight_bytes = 0, activation_bytes = 0;
  double train_seconds = 0;
  std::map<std::string, std::int64_t> distinct_codes;  // of the weights, by layer
  std::vector<EpochRecord> history;                    // of this run alone
  std::string model_file;                              // relative to the results
  std::optional<IntegerRecord> integers;               // of the sweep's networks

  double accuracy() const {
    return samples > 0 ? static_cast<double>(correct) / static_cast<double>(samples) : 0;
  }
  std::array<double, 2> accuracy_ci95() const;
  double total_bytes() const { return weight_bytes + activation_bytes; }
};

struct MemoryRow {
  std::string layer;
  bool is_weight;
  std::int64_t values;
};

// Post-training quantization step by step: test accuracy with the quantized weights before bias correction,
// and the weights of a layer before and after quantization.
struct PtqRecord {
  double accuracy_before_correction = 0;
  std::string calibrated_on = "train";
  struct Layer {
    std::string name;
    double scale;
    std::vector<float> weights, quantized;
    double mean_difference, max_difference;  // of weights - quantized; the latter by magnitude
  };
  std::vector<Layer> layers;
};

// Ten numbers through QuantIdentity.
struct DemoRecord {
  int bits = 2;
  double scale = 0;
  std::vector<float> input, output;
  std::vector<std::int32_t> codes;
};

// The integer model at the end of the lab, beside the float network it replaces.
struct IntegerNetwork {
  std::string of, model_file;  // name of the run that was lowered; file relative to the results
  IntegerRecord record;
  std::int64_t float_bytes = 0;  // of the float network's parameters
  double float_images_per_second = 0;
  std::string certificate;
  bool green = false;
  std::vector<std::string> compared;  // what computes the same integers: "tier avx2", "C program" ...
  std::int64_t integers = 0;          // compared, in all
  double differing_per_million = 0;   // codes of float fake quantization
  std::int64_t changed_answers = 0;

  double speedup() const {
    return float_images_per_second > 0 ? record.images_per_second / float_images_per_second : 0;
  }
};

struct LabResults {
  std::string dataset;                        // "MNIST" only when its hashes are MNIST's
  std::map<std::string, std::string> sha256;  // of the decompressed files
  std::uint64_t seed = 0;
  int threads = 1;
  std::string isa;
  bool quick = false;
  std::int64_t train_images = 0, test_images = 0;
  std::vector<RunRecord> runs;
  std::vector<MemoryRow> memory;  // of the float network: what the ledger counts
  PtqRecord ptq;
  std::optional<IntegerNetwork> integers;
  DemoRecord demo;

  const RunRecord* find(const std::string& name) const;
  // Names of the runs of the sweep, and of fp32-e6, that no other of them beats in both memory and accuracy;
  // smallest memory first.
  std::vector<std::string> pareto() const;
};

// 95 % score interval of a proportion (Wilson, "Probable inference", 1927).
std::array<double, 2> wilson95(std::int64_t successes, std::int64_t trials);

// results.json, schema 1. Atomic; throws std::system_error naming the path.
void write_results(const std::filesystem::path& path, const LabResults& results);

}  // namespace nibble
