#include "quant/quant_activation.h"

#include <algorithm>
#include <cmath>

#include "autograd/node.h"
#include "autograd/ops_elementwise.h"
#include "quant/fake_quant.h"
#include "quant/quant_tensor.h"
#include "quant/scale.h"
#include "quant/statistics.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"

namespace nibble::quant {
namespace {

float value_of(const Variable& x) { return static_cast<float>(x.value().item()); }

}  // namespace

QuantActivation::QuantActivation(const ActQuantizer& quantizer, bool relu)
    : quantizer_(quantizer), relu_(relu) {
  check(quantizer);
  scale_value_ = register_parameter("scale_value", scalar(1));
  scale_buffer_ = register_buffer("scale_buffer", scalar(1));
  if (quantizer.shifted) {
    zp_value_ = register_parameter("zp_value", scalar(0));
    zp_buffer_ = register_buffer("zp_buffer", scalar(0));
  }
  collected_steps_ = register_buffer("collected_steps", scalar(0, DType::int64));
}

IntegerRange QuantActivation::range() const {
  return integer_range(quantizer_.bit_width, quantizer_.is_signed, false);
}

double QuantActivation::divisor() const {
  if (quantizer_.is_signed) return -range().lo;
  return quantizer_.power_of_two ? range().hi + 1 : range().hi;
}

std::int64_t QuantActivation::collected_steps() const {
  return static_cast<std::int64_t>(collected_steps_.item());
}
bool QuantActivation::has_parameter() const { return collected_steps() > quantizer_.collect_stats_steps; }

QuantActivation::Statistic QuantActivation::statistic(const Variable& x) const {
  if (!quantizer_.shifted) return {at_least_scaling_min(abs_percentile(x, quantizer_.percentile, relu_)), {}};
  // Nothing is below the zeros of a ReLU.
  const Variable low = relu_ ? Variable(scalar(0)) : low_percentile_or_zero(x, quantizer_.low_percentile);
  return {at_least_scaling_min(abs(sub(high_percentile(x, quantizer_.percentile, relu_), low))), low};
}

void QuantActivation::update_average(const Statistic& batch, bool equal_weight) {
  const std::int64_t before = collected_steps();
  const auto update = [&](Tensor& average, const Variable& value) {
    const float now = value_of(value), old = static_cast<float>(average.item());
    float next = now;
    if (before > 0) {
      const double count = static_cast<double>(before) + 1;
      const double keep = equal_weight ? static_cast<double>(before) / count : 1 - quantizer_.momentum;
      next = old * static_cast<float>(keep) +
             (equal_weight ? now / static_cast<float>(count) : static_cast<float>(quantizer_.momentum) * now);
    }
    average.fill(next);
  };
  update(scale_buffer_, batch.span);
  if (quantizer_.shifted) update(zp_buffer_, batch.low);
  collected_steps_.fill(static_cast<double>(before + 1));
}

void QuantActivation::start_parameter() {
  const auto average = static_cast<float>(scale_buffer_.item());
  scale_value_.mutable_value().fill(
      quantizer_.power_of_two ? static_cast<float>(std::log2(static_cast<double>(average))) : average);
  if (quantizer_.shifted) zp_value_.mutable_value().copy_from(zp_buffer_);
  collected_steps_.fill(static_cast<double>(quantizer_.collect_stats_steps + 1));
}

void QuantActivation::set_calibrating(bool on) {
  const bool observed = calibrating_ && !on && !has_parameter() && collected_steps() > 0;
  calibrating_ = on;
  if (observed) start_parameter();
}

// |zp_value| / scale, rounded and clamped to the codes; straight-through, but without gradient where it
// clamps.
Variable QuantActivation::zero_point_of(const Variable& zp_value, const Variable& scale) const {
  const float magnitude = std::fabs(value_of(zp_value)), s = value_of(scale);
  const float rounded = std::nearbyint(magnitude / s);
  const auto lo = static_cast<float>(range().lo), hi = static_cast<float>(range().hi);
  const float clamped = std::clamp(rounded, lo, hi);
  return make_op("zero_point", scalar(clamped), {zp_value, scale},
                 [=, inside = rounded == clamped, sign = value_of(zp_value) < 0 ? -1.0 : 1.0](
                     const Tensor& grad, const Needs&) -> Grads {
                   if (!inside) return {std::nullopt, std::nullopt};
                   const double g = grad.item();
                   return {scalar(sign * g / s), scalar(-g * magnitude / (double{s} * s))};
                 });
}

QuantActivation::Scale QuantActivation::batch_scale(const Variable& x) {
  const Statistic batch = statistic(x);
  update_average(batch, false);
  const Variable scale = with_zero_gradient(float_scale(batch.span, divisor()), scale_value_);
  if (!quantizer_.shifted) return {scale, {}};
  return {scale, with_zero_gradient(zero_point_of(batch.low, scale), zp_value_)};
}

QuantActivation::Scale QuantActivation::parameter_scale() {
  const Variable scale = quantizer_.power_of_two ? power_of_two_scale_of_log2(scale_value_, divisor())
                                                 : float_scale(scale_value_, divisor());
  return {scale, quantizer_.shifted ? zero_point_of(zp_value_, scale) : Variable()};
}

QuantActivation::Scale QuantActivation::eval_scale() {
  if (has_parameter()) {
    Scale result = parameter_scale();
    // Training may have driven the parameter below zero; evaluation takes its absolute value, as Brevitas
    // does.
    if (value_of(result.scale) < 0) {
      result.scale = abs(result.scale);
      if (quantizer_.shifted) result.zero_point = zero_point_of(zp_value_, result.scale);
    }
    return result;
  }
  const Variable average(scale_buffer_.clone());
  const Variable scale =
      quantizer_.power_of_two ? power_of_two_scale(average, divisor()) : float_scale(average, divisor());
  return {scale, quantizer_.shifted ? zero_point_of(Variable(zp_buffer_.clone()), scale) : Variable()};
}

QuantActivation::Scale QuantActivation::scale_for(const Variable& x) {
  if (!is_training()) return eval_scale();
  if (collected_steps() < quantizer_.collect_stats_steps) return batch_scale(x);
  if (!has_parameter()) start_parameter();
  return parameter_scale();
}

Variable QuantActivation::annotated(const Variable& y, const Scale& scale) const {
  const double zero_point = scale.zero_point.defined() ? scale.zero_point.value().item() : 0;
  return y.with_annotation(std::make_shared<QuantParams>(scale.scale, zero_point, quantizer_.bit_width,
                                                         quantizer_.is_signed, false));
}

Variable QuantActivation::forward(const Variable& x) {
  if (calibrating_) {
    if (!has_parameter()) update_average(statistic(x.detach()), true);
    return relu_ ? relu(x) : x;
  }
  const Scale s = scale_for(x);
  return annotated(fake_quantize(x, s.scale, s.zero_point, options()), s);
}

Variable QuantActivation::forward_pooled(const Variable& x, const nn::MaxPool2d& pool) {
  if (calibrating_) return max_pool2d(forward(x), pool.kernel(), pool.options());
  const Scale s = scale_for(x);
  return annotated(
      fake_quantize_max_pool2d(x, s.scale, s.zero_point, options(), pool.kernel(), pool.options()), s);
}

}  // namespace nibble::quant
