#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "nn/optimizer.h"
#include "nn/state_dict.h"

namespace nibble::nn {

// What one file holds: the model under its own names ("conv1.weight"), as PyTorch's state dicts have them,
// the optimizer under "optimizer.", and strings. The bytes depend on these alone.
struct Checkpoint {
  StateDict model;
  std::map<std::string, Tensor> optimizer;
  std::map<std::string, std::string> metadata;
};

// Atomic: a kill or a full disk leaves the old file. Throws std::system_error naming the path.
void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint);

// Reads any .safetensors file. Throws FormatError or std::system_error, naming the path.
Checkpoint load_checkpoint(const std::filesystem::path& path);

}  // namespace nibble::nn
