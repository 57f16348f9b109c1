#pragma once

#include <cstdint>
#include <string>

#include "apps/experiment.h"
#include "quant/memory.h"

namespace nibble {

// A new network of `spec` with the parameters of `from` (and, between equal specs, its quantizer state), a
// fresh optimizer that holds the activation scales too, and the augmentation and epoch count of `from`.
Run quantized_copy(const Run& from, const ModelSpec& spec, std::uint64_t seed);

enum class CalibrationSplit { train, test };
CalibrationSplit parse_calibration_split(const std::string& name);

// Post-training quantization as in the notebook: calibration of the activation scales, then bias correction,
// both on the same six batches: the first six of the next epoch's shuffled, augmented training images, or of
// the frozen test set.
void calibrate(Run& run, Experiment& experiment, CalibrationSplit split, std::int64_t batch_size);

// Of one image in the lab's network; biases ignored, as the notebook asks.
quant::MemoryLedger memory_of(Run& run);
inline double total_kib(const quant::MemoryLedger& ledger) {
  return (ledger.weight_bytes() + ledger.activation_bytes()) / 1024;
}

}  // namespace nibble
