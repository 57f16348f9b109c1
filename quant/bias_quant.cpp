#include "quant/bias_quant.h"

#include "autograd/ops_elementwise.h"
#include "autograd/ops_shape.h"
#include "quant/fake_quant.h"
#include "quant/quant_tensor.h"

namespace nibble::quant {

Variable quantize_bias(const Variable& bias, const Variable& input_scale, const Variable& weight_scale,
                       const BiasQuantizer& quantizer) {
  const Variable scale = mul(input_scale, reshape(weight_scale, {-1}));
  const Variable value =
      fake_quantize(bias, scale, {}, {.range = integer_range(quantizer.bit_width, true, false)});
  return value.with_annotation(std::make_shared<QuantParams>(scale, 0, quantizer.bit_width, true, false));
}

}  // namespace nibble::quant
