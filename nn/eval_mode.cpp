#include "nn/eval_mode.h"

namespace nibble::nn {

EvalMode::EvalMode(Module& network) {
  for (const auto& [name, module] : network.named_modules())
    before_.emplace_back(module, module->is_training());
  network.eval();
}

EvalMode::~EvalMode() {
  // A module sets its children too, so parents come first, as they do in named_modules().
  for (const auto& [module, training] : before_) module->train(training);
}

}  // namespace nibble::nn
