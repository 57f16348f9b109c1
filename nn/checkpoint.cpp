#include "nn/checkpoint.h"

#include <string_view>

#include "tensor/safetensors.h"

namespace nibble::nn {
namespace {

constexpr std::string_view kOptimizer = "optimizer.";

}  // namespace

void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint) {
  TensorFile file{checkpoint.model, checkpoint.metadata};
  for (const auto& [name, tensor] : checkpoint.optimizer)
    file.tensors[std::string(kOptimizer) + name] = tensor;
  save_safetensors(path, file);
}

Checkpoint load_checkpoint(const std::filesystem::path& path) {
  TensorFile file = load_safetensors(path);
  Checkpoint checkpoint{{}, {}, std::move(file.metadata)};
  for (auto& [name, tensor] : file.tensors) {
    if (name.rfind(kOptimizer, 0) == 0)
      checkpoint.optimizer[name.substr(kOptimizer.size())] = tensor;
    else
      checkpoint.model[name] = tensor;
  }
  return checkpoint;
}

}  // namespace nibble::nn
