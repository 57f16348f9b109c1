#pragma once

#include "autograd/variable.h"
#include "quant/qparams.h"

namespace nibble::quant {

// How the elements of a Variable are quantized: value = (code - zero_point) * scale. It is the Variable's
// annotation and so travels with it through pooling and reshaping. The scale is part of the graph, not
// detached: a quantized bias sends gradients through it.
struct QuantParams : Annotation {
  QuantParams(Variable scale, double zero_point, int bit_width, bool is_signed, bool narrow_range)
      : scale(std::move(scale)),
        zero_point(zero_point),
        bit_width(bit_width),
        is_signed(is_signed),
        narrow_range(narrow_range) {}

  Variable scale;  // rank 0, or [K, 1, ...] per channel
  double zero_point;
  int bit_width;
  bool is_signed;
  bool narrow_range;
};

// A quantized Variable seen as what it stands for.
class QuantTensor {
 public:
  static bool is_quantized(const Variable& x);
  // Throws std::invalid_argument when x is not quantized.
  explicit QuantTensor(const Variable& x);

  const Variable& value() const { return value_; }
  const Variable& scale() const { return params_->scale; }
  double zero_point() const { return params_->zero_point; }
  int bit_width() const { return params_->bit_width; }
  bool is_signed() const { return params_->is_signed; }
  bool narrow_range() const { return params_->narrow_range; }
  Tensor codes() const;  // int32, the shape of value

 private:
  Variable value_;
  std::shared_ptr<const QuantParams> params_;
};

}  // namespace nibble::quant
