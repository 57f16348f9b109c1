#pragma once

#include <string>
#include <vector>

#include "tensor/sha256.h"

// What writing and reading .nbq files share.

namespace nibble::quant {

inline constexpr const char* kNbqVersion = "1";

// SHA-256 over the bytes of all tensors in order of their names; File maps names to ranges of bytes.
template <class File>
std::string payload_hash(const File& tensors) {
  std::vector<std::byte> all;
  for (const auto& [name, bytes] : tensors) all.insert(all.end(), bytes.begin(), bytes.end());
  return sha256(all);
}

}  // namespace nibble::quant
