#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "apps/training/experiment.h"
#include "quant/memory.h"

namespace nibble {

// A new network of `spec` with the parameters of `from` (and, between equal specs, its quantizer state), a
// fresh optimizer that holds the activation scales too, and the augmentation and epoch count of `from`.
Run quantized_copy(const Run& from, const ModelSpec& spec, std::uint64_t seed);

enum class CalibrationSplit { train, test };
CalibrationSplit parse_calibration_split(const std::string& name);

// The images that calibrate: six batches, as in the notebook; the first of the next epoch's shuffled and
// augmented training images, or of the frozen test set.
std::vector<Tensor> calibration_images(const Run& run, Experiment& experiment, CalibrationSplit split,
                                       std::int64_t batch_size);
// Sets the scales of activations; without quantized activations nothing changes.
void calibrate(Run& run, const std::vector<Tensor>& images);
void correct_biases(Run& run, const std::vector<Tensor>& images);

// Before training: unless `split` is empty, activation scales are calibrated on it and are parameters from
// the first step, instead of following each batch for 300 steps.
void calibrate_if_asked(Run& run, Experiment& experiment, const std::string& split, std::int64_t batch_size);

// Of one image in the lab's network; biases ignored, as the notebook asks.
quant::MemoryLedger memory_of(Run& run);
inline double total_kib(const quant::MemoryLedger& ledger) {
  return (ledger.weight_bytes() + ledger.activation_bytes()) / 1024;
}

}  // namespace nibble
