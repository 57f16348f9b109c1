#pragma once

#include "nn/activation.h"
#include "quant/fake_quant.h"
#include "quant/quantizer.h"

namespace nibble::quant {

// Quantizes activations with a scale that is first a statistic and then a parameter. D is 2^(b-1) signed, 2^b
// - 1 unsigned Float, 2^b unsigned FixedPoint; the statistic is the percentile of |x| over the batch.
//   training, first collect_stats_steps passes: scale = statistic / D (also for FixedPoint: no power of two
//   yet), not
//     detached; an average of the statistic is kept (first value, then 0.9 / 0.1)
//   training afterwards: scale_value (starts as the average; FixedPoint: its log2) is a parameter that is
//   trained:
//     scale = value / D, or 2^ceil(value) / D
//   evaluation: from the average while it is being collected, from the parameter afterwards; 1 before any
//   data
// Shifted: the statistic is hi - lo with lo = min(0, low percentile), and zero_point = clamp(round(|zp_value|
// / scale)). State: scale_value, zp_value (parameters); scale_buffer, zp_buffer, collected_steps (buffers).
class QuantActivation : public nn::PoolableActivation {
 public:
  Variable forward(const Variable& x) override;
  Variable forward_pooled(const Variable& x, const nn::MaxPool2d& pool) override;

  const ActQuantizer& quantizer() const { return quantizer_; }
  IntegerRange range() const;
  double divisor() const;  // D
  std::int64_t collected_steps() const;

  // While on, forward only observes: it returns x itself and averages the statistics of all calls with equal
  // weight. Leaving the mode turns the average into the parameter; a quantizer that has one already is not
  // changed. See calibrate.h.
  void set_calibrating(bool on);

 protected:
  // With `relu` it quantizes max(x, 0).
  QuantActivation(const ActQuantizer& quantizer, bool relu);

 private:
  struct Scale {
    Variable scale, zero_point;  // zero_point undefined unless shifted
  };
  FakeQuantOptions options() const { return {.range = range(), .relu = relu_}; }
  Variable annotated(const Variable& y, const Scale& scale) const;
  bool has_parameter() const;
  struct Statistic {
    Variable span, low;  // low undefined unless shifted
  };
  Statistic statistic(const Variable& x) const;
  void update_average(const Statistic& batch, bool equal_weight);
  void start_parameter();
  Scale scale_for(const Variable& x);  // of the phase; not while calibrating
  Scale batch_scale(const Variable& x);
  Scale parameter_scale();
  Scale eval_scale();
  Variable zero_point_of(const Variable& zp_value, const Variable& scale) const;

  ActQuantizer quantizer_;
  bool relu_;
  bool calibrating_ = false;
  Variable scale_value_, zp_value_;
  Tensor scale_buffer_, zp_buffer_, collected_steps_;
};

// Brevitas' names: quantizes its input, by default signed; and quantizes relu(x), by default unsigned.
class QuantIdentity : public QuantActivation {
 public:
  explicit QuantIdentity(const ActQuantizer& quantizer = Int8ActPerTensorFloat())
      : QuantActivation(quantizer, false) {}
};

class QuantReLU : public QuantActivation {
 public:
  explicit QuantReLU(const ActQuantizer& quantizer = Uint8ActPerTensorFloat())
      : QuantActivation(quantizer, true) {}
};

}  // namespace nibble::quant
