#include "quant/weight_quant.h"

#include <algorithm>

#include "autograd/node.h"
#include "autograd/ops_elementwise.h"
#include "quant/fake_quant.h"
#include "quant/quant_tensor.h"
#include "quant/scale.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"

namespace nibble::quant {
namespace {

Variable annotated(const Variable& value, const Variable& scale, const WeightQuantizer& quantizer) {
  return value.with_annotation(std::make_shared<QuantParams>(scale, 0, quantizer.bit_width, true, true));
}

Variable binary_weight(Variable& weight, const WeightQuantizer& quantizer) {
  const auto scale = static_cast<float>(quantizer.scaling_const);
  const Tensor dense = weight.value().contiguous();
  const auto source = dense.values<float>();
  if (std::any_of(source.begin(), source.end(), [=](float w) { return w > scale || w < -scale; })) {
    Tensor stored = weight.mutable_value();
    for (float& w : stored.mutable_values<float>()) w = std::clamp(w, -scale, scale);
  }
  Tensor value = empty(weight.shape());
  const auto out = value.mutable_values<float>();
  std::transform(source.begin(), source.end(), out.begin(), [=](float w) { return w >= 0 ? scale : -scale; });
  const Variable result =
      make_op("binary_weight", value, {weight},
              [scale](const Tensor& grad, const Needs&) -> Grads { return {grad * double{scale}}; });
  return annotated(result, Variable(scalar(scale)), quantizer);
}

}  // namespace

Variable quantize_weight(Variable weight, const WeightQuantizer& quantizer) {
  NIBBLE_CHECK(weight.dtype() == DType::float32, "quantize_weight: dtype ", weight.dtype(),
               ", expected float32");
  check(quantizer);
  if (quantizer.kind == WeightKind::binary) return binary_weight(weight, quantizer);
  const IntegerRange range = integer_range(quantizer.bit_width, true, true);
  Variable scale;
  if (quantizer.kind == WeightKind::ternary) {
    scale = Variable(scalar(quantizer.scaling_const));
  } else {
    const Variable m =
        at_least_scaling_min(quantizer.per_channel ? abs_max_per_channel(weight) : abs_max(weight));
    scale = quantizer.power_of_two ? power_of_two_scale(m, range.hi + 1) : float_scale(m, range.hi);
  }
  return annotated(fake_quantize(weight, scale, {}, {range, Clamp::straight_through}), scale, quantizer);
}

}  // namespace nibble::quant
