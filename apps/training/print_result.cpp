#include "apps/training/print_result.h"

#include <fmt/format.h>

#include <cstdio>

#include "apps/terminal/progress.h"
#include "apps/training/quantize.h"

namespace nibble {

void warn_of_dead_classes(const std::vector<int>& dead, const std::string& label) {
  if (dead.empty()) return;
  print_line(
      fmt::format("nibble: warning: {}{}dead {} {}: less than 5 % of its images recognised", label,
                  label.empty() ? "" : ": ", dead.size() == 1 ? "class" : "classes", fmt::join(dead, ", ")),
      stderr);
}

void print_evaluation(const nn::Evaluation& evaluation) {
  warn_of_dead_classes(evaluation.dead_classes());
  const nn::Progress& total = evaluation.total;
  fmt::print("accuracy {:.4f} ({}/{})\nloss {:.4f}\n", total.accuracy(), total.correct, total.samples,
             total.loss());
}

void print_memory(Run& run) {
  const quant::MemoryLedger ledger = memory_of(run);
  double weights = 0, activations = 0;
  for (const quant::MemoryEntry& entry : ledger.entries)
    (entry.is_weight ? weights : activations) += static_cast<double>(entry.values) * sizeof(float);
  fmt::print("memory: weights {:.2f} KiB, activations {:.2f} KiB (float32: {:.2f} and {:.2f})\n",
             ledger.weight_bytes() / 1024, ledger.activation_bytes() / 1024, weights / 1024,
             activations / 1024);
}

void print_epochs(const std::vector<EpochResult>& epochs) {
  for (const EpochResult& epoch : epochs)
    fmt::print("epoch {}  train loss {:.4f} accuracy {:.4f}  test loss {:.4f} accuracy {:.4f}\n", epoch.epoch,
               epoch.train.loss(), epoch.train.accuracy(), epoch.test.total.loss(),
               epoch.test.total.accuracy());
}

}  // namespace nibble
