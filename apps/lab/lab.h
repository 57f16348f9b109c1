#pragma once

#include <filesystem>

#include "apps/training/options.h"

namespace nibble {

struct LabOptions {
  CommonOptions common;
  TrainingOptions training;
  QuantizationOptions quantization;
  bool quick = false;  // 1 epoch a stage, 2000 images, three rows of the sweep
};

// The notebook from its first cell to its last question, into the folder training.out: one checkpoint per
// run, results.json, figures, report.md.
void run_lab(const LabOptions& options);

}  // namespace nibble
