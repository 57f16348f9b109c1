#pragma once

#include <filesystem>

#include "apps/lab/lab_results.h"

namespace nibble {

// The figures of the lab's report, as PNG. Each throws std::system_error naming the path it cannot write.

// Loss and accuracy by epoch, in training and on the test set, of the float and the quantization-aware runs.
void draw_curves(const std::filesystem::path& path, const LabResults& results);
// Weights of each layer before (bars) and after (stems at the codes in use) post-training quantization.
void draw_weights(const std::filesystem::path& path, const LabResults& results);
// Memory against accuracy of the sweep and the float network: every point labelled (a, w), 95 % intervals,
// Pareto front.
void draw_sweep(const std::filesystem::path& path, const LabResults& results);
// What the networks of the sweep take in integers, and the float network; needs results.integers for the
// latter.
void draw_sweep_time(const std::filesystem::path& path, const LabResults& results);

}  // namespace nibble
