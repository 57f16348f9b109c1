#pragma once

#include <string>
#include <vector>

#include "tensor/safetensors.h"

namespace nibble::test {

// One file of golden vectors (tests/golden/README.md): from $NIBBLE_GOLDEN_DIR, or from tests/golden what that
// set does not have. Every accessor throws, naming file and key, when something is missing.
class Golden {
 public:
  explicit Golden(const std::string& file_name);  // without ".safetensors"

  int cases() const;  // at least 1
  bool has(const std::string& name) const { return file_.tensors.count(name) != 0; }
  Tensor tensor(const std::string& name) const;
  Tensor tensor(int index, const std::string& name) const { return tensor(key(index, name)); }
  bool has(int index, const std::string& name) const { return has(key(index, name)); }

  bool has_meta(const std::string& name) const { return file_.metadata.count(name) != 0; }
  std::string meta(const std::string& name) const;
  std::string meta(int index, const std::string& name) const { return meta(key(index, name)); }
  double number(int index, const std::string& name) const;
  bool flag(int index, const std::string& name) const;                       // 1, 0, True, False
  std::vector<std::int64_t> list(int index, const std::string& name) const;  // "1" or "1,2"

  const TensorFile& file() const { return file_; }

 private:
  static std::string key(int index, const std::string& name) {
    return "case" + std::to_string(index) + "." + name;
  }

  std::string file_name_;
  TensorFile file_;
};

// Largest |a - b| over the elements, in units of the largest |b| (at least `floor`); infinity where exactly
// one is NaN or infinite. Throws when shapes differ.
double relative_error(const Tensor& actual, const Tensor& expected, double floor = 1e-30);
// Shapes and values (NaN equals NaN); dtypes may differ.
bool same_elements(const Tensor& actual, const Tensor& expected);
// Largest distance in units in the last place of float32.
std::int64_t max_ulps(const Tensor& actual, const Tensor& expected);

}  // namespace nibble::test
