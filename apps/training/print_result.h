#pragma once

#include <string>
#include <vector>

#include "apps/training/experiment.h"

namespace nibble {

// Names the classes that a network never gives, if any, on standard error; `label` says which network.
void warn_of_dead_classes(const std::vector<int>& dead, const std::string& label = "");
// Warns, and prints "accuracy 0.8453 (8453/10000)" and "loss 1.6208" on standard output.
void print_evaluation(const nn::Evaluation& evaluation);
// "weights 4.43 KiB, activations 49.04 KiB (float32: 35.41 + 49.04)"
void print_memory(Run& run);
void print_epochs(const std::vector<EpochResult>& epochs);

}  // namespace nibble
