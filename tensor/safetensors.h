#pragma once

#include <cstddef>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/tensor.h"

namespace nibble {

// Contents of a .safetensors file: named tensors and string metadata. Names are kept in sorted order, so that
// writing is deterministic.
struct TensorFile {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

// A tensor as it lies in a file.
struct StoredTensor {
  std::string_view type;  // "F32", "U8", ... as the format spells it
  Shape shape;
  std::span<const std::byte> bytes;  // little-endian, row-major
};

// The same contents in place: nothing is copied, and the bytes have to outlive it.
struct TensorFileView {
  std::map<std::string, StoredTensor> tensors;
  std::map<std::string, std::string> metadata;
};

// Format: 8 bytes little-endian header length, JSON header, raw little-endian data
// (https://github.com/huggingface/safetensors). Throws FormatError, with the offset, on anything malformed:
// sizes that overflow or point outside, gaps, overlaps, duplicate names, unknown dtypes. Nothing is allocated
// before the sizes are checked against the span.
TensorFileView view_safetensors(std::span<const std::byte> bytes);
TensorFile parse_safetensors(std::span<const std::byte> bytes);
std::vector<std::byte> serialize_safetensors(const TensorFile& file);

TensorFile load_safetensors(const std::filesystem::path& path);  // errors name the path
void save_safetensors(const std::filesystem::path& path,
                      const TensorFile& file);  // atomic, see atomic_file.h

}  // namespace nibble
