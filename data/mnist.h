#pragma once

#include <array>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace nibble::data {

struct LabelledImages {
  Tensor images;  // uint8 [N, 28, 28]
  Tensor labels;  // int64 [N], 0 to 9
};

// A data set in MNIST's four files.
struct Mnist {
  std::string name;  // "MNIST" or "Fashion-MNIST" when all four hashes are theirs, else "unknown"
  std::map<std::string, std::string>
      sha256;  // of the decompressed files, by base name ("train-images-idx3-ubyte")
  LabelledImages train, test;
};

// The four base names: train and test images, train and test labels.
inline constexpr std::array<const char*, 4> kMnistFiles = {
    "train-images-idx3-ubyte", "t10k-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-labels-idx1-ubyte"};
// SHA-256 of MNIST's decompressed file of that base name.
const std::string& mnist_sha256(const std::string& base_name);

// Reads the files of a folder, each plain or with ".gz", also spelled "train-images.idx3-ubyte". Every
// header, size and label is checked. Throws std::system_error or FormatError, naming the file.
Mnist load_mnist(const std::filesystem::path& folder);

// Decompressed contents of one of the files.
std::vector<std::byte> read_mnist_file(const std::filesystem::path& folder, const std::string& base_name);

// Where a data set is: `given` (--data) unless empty, else $NIBBLE_DATA, else ~/.cache/nibble/mnist. Throws
// std::runtime_error that names the three ways when none is there.
std::filesystem::path find_data(const std::string& given);

// ~/.cache/nibble/mnist ($XDG_CACHE_HOME respected), where `nibble data fetch` puts MNIST.
std::filesystem::path default_data_folder();

}  // namespace nibble::data
