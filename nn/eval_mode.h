#pragma once

#include <utility>
#include <vector>

#include "nn/module.h"

namespace nibble::nn {

// Puts a network into evaluation mode while it lives, then gives every module its own mode back.
class EvalMode {
 public:
  explicit EvalMode(Module& network);
  ~EvalMode();
  EvalMode(const EvalMode&) = delete;
  EvalMode& operator=(const EvalMode&) = delete;

 private:
  std::vector<std::pair<Module*, bool>> before_;
};

}  // namespace nibble::nn
