#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "quant/packed_matrix.h"
#include "tensor/gemm.h"
#include "tensor/tensor.h"

namespace nibble {

inline constexpr int kFloatBits = 32;

// A product: activations [m, k] times weights [n, k].
struct KernelShape {
  std::int64_t m, n, k;

  std::string name() const;  // "16x1024x1024"
  double operations() const { return 2.0 * static_cast<double>(m) * static_cast<double>(n * k); }
  bool operator==(const KernelShape&) const = default;
};

// "MxNxK", each 1 to 65536; throws std::invalid_argument with the text and what was expected.
KernelShape parse_kernel_shape(const std::string& text);

// Random operands of one shape for every width, and room for the result.
class KernelOperands {
 public:
  explicit KernelOperands(const KernelShape& shape);

  const KernelShape& shape() const { return shape_; }
  quant::PackedMatrix weights(int weight_bits, int act_bits) const;
  PackedB float_weights() const;

  // Rows of activations of so many bits, packed, `activation_stride(bits)` bytes apart.
  const std::uint8_t* activations() const { return activations_.data<std::uint8_t>(); }
  std::int64_t activation_stride(int act_bits) const { return (shape_.k * act_bits + 7) / 8; }

  void multiply(const quant::PackedMatrix& w, int act_bits);
  void multiply(const PackedB& w);

 private:
  KernelShape shape_;
  Tensor codes_, activations_, float_activations_, result_, float_result_;
};

// Copies of weights that together exceed every cache, met in turn: each has left the caches by the time it
// comes round again.
template <class Weights>
class ColdCopies {
 public:
  template <class Copy>
  ColdCopies(double bytes_of_one, double bytes, Copy copy) {
    while (bytes_of_one * static_cast<double>(copies_.size()) < bytes || copies_.size() < 2)
      copies_.push_back(copy());
  }
  const Weights& next() { return copies_[next_++ % copies_.size()]; }

 private:
  std::vector<Weights> copies_;
  std::size_t next_ = 0;
};

}  // namespace nibble
