#pragma once

#include <map>
#include <string>
#include <vector>

#include "nn/module.h"

namespace nibble::nn {

using StateDict = std::map<std::string, Tensor>;

// Parameters and buffers under PyTorch's names ("conv1.weight"); the tensors are copies.
StateDict state_dict(const Module& module);

struct LoadReport {
  std::vector<std::string> matched;
  std::vector<std::string> missing;     // in the module, not in the dict: left at their default
  std::vector<std::string> unexpected;  // in the dict, not in the module: ignored
};

// Copies tensors into the module, converting dtypes between float32 and float64. All or nothing: throws
// std::invalid_argument, naming the tensor, on a shape that differs, and with `strict` on a missing or
// unexpected name, and has then changed nothing.
LoadReport load_state_dict(Module& module, const StateDict& state, bool strict = true);

}  // namespace nibble::nn
