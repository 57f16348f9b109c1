#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "quant/kernels/qgemm.h"
#include "tensor/tensor.h"

namespace nibble::quant {

// Which instructions multiply. automatic: what is faster on the tier for these widths, as measured.
enum class QGemmMethod { automatic, dot, bitserial };

struct PackOptions {
  int bit_width = 8;    // 1 (binary: codes -1 and 1), 2 (ternary codes fit too), 4 or 8
  bool is_signed = true;  // codes in [-2^(b-1), 2^(b-1) - 1], else in [0, 2^b - 1]
  std::int32_t zero_point = 0;  // weight = (code - zero_point) * scale; in the range of codes; 0 for binary
  int act_bits = 8;     // of the activations it will meet; 1 or 2 permit bit-serial products
  QGemmMethod method = QGemmMethod::automatic;
};

// Weights [n, k] (out_features x in_features) as integers of 1, 2, 4 or 8 bits in the order in which the kernels of
// one tier read them; the only copy that is kept. Panels of `lanes` columns follow each other, each padded to whole
// blocks:
//
//   [panel 0: columns 0 .. lanes-1, all of k] [panel 1] ...      what a panel looks like: dot.cpp, bitserial.cpp
//
// Besides, 4 bytes a column: its sum, for activations with a zero point; and the scales, float32:
//   none (1), [] or [1] per tensor, [n] per channel, or [n, ceil(k / group)] per group of 32, 64 or 128 elements along
//   k, kept as [panel][group][lane]
class PackedMatrix {
 public:
  // codes: [n, k], int8, uint8 or int32. scale: see above; undefined for 1. Throws std::invalid_argument naming
  // the first code that is out of range, a scale of another shape, not positive or not finite, and a k at which
  // sums could leave int32.
  PackedMatrix(const Tensor& codes, const PackOptions& options, const Tensor& scale = {});
  PackedMatrix(Isa isa, const Tensor& codes, const PackOptions& options, const Tensor& scale = {});

  std::int64_t n() const { return n_; }
  std::int64_t k() const { return k_; }
  const PackOptions& options() const { return options_; }
  std::int64_t group() const { return group_; }  // 0: one scale for all of k
  // per column; one element: per tensor. Empty where there are groups.
  std::span<const float> scale() const { return scale_; }
  // sum over k of code - zero_point, [n]
  std::span<const std::int32_t> column_sums() const { return column_sums_; }
  // sum over groups of scale * column sum of the group, [n]; empty without groups
  std::span<const float> scaled_column_sums() const { return scaled_column_sums_; }
  std::int64_t panel_bytes() const { return static_cast<std::int64_t>(panel_bytes_); }
  std::int64_t bytes() const;  // weights, sums and scales

  Tensor unpack() const;  // the codes, int32 [n, k]
  PackedMatrix clone() const;  // with weights of its own; a plain copy shares them

  // The largest k at which no sum of 8-bit activations and such weights reaches 2^30, so that none leaves
  // int32 when a bias of up to 2^30 joins it. The farther weights can be from their zero point, the smaller:
  // of 8 bits 32,896 for signed ones with zero point 0, 16,512 for unsigned ones.
  static std::int64_t max_k(const PackOptions& options);

  // For the engine.
  const QGemmKernels& kernels() const { return *kernels_; }
  QGemmMethod method() const { return method_; }  // dot or bitserial
  Isa isa() const { return isa_; }
  // Largest |w[p] + w[p+1]| of neighbours of one sign, stored codes: a proof for maddubs if times the largest
  // activation it stays in int16.
  int max_pair() const { return max_pair_; }
  std::int32_t stored_zero_point() const { return stored_zero_point_; }
  const std::byte* panel(std::int64_t index) const;
  const float* group_scales(std::int64_t panel) const;

 private:
  void pack(const Tensor& codes);
  void set_scale(const Tensor& scale);

  Isa isa_;
  PackOptions options_;
  QGemmMethod method_;
  const QGemmKernels* kernels_;
  std::int64_t n_, k_, group_ = 0;
  std::int32_t stored_zero_point_;
  int max_pair_ = 0;
  std::size_t panel_bytes_;
  std::shared_ptr<Storage> panels_;
  std::vector<std::int32_t> column_sums_;
  std::vector<float> scale_, group_scale_, scaled_column_sums_;
};

}  // namespace nibble::quant
