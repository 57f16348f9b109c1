#include "quant/quant_tensor.h"

#include "tensor/elementwise.h"

namespace nibble::quant {

bool QuantTensor::is_quantized(const Variable& x) {
  return dynamic_cast<const QuantParams*>(x.annotation().get()) != nullptr;
}

QuantTensor::QuantTensor(const Variable& x)
    : value_(x), params_(std::dynamic_pointer_cast<const QuantParams>(x.annotation())) {
  NIBBLE_CHECK(params_ != nullptr, "QuantTensor: the variable of shape ", x.shape(), " is not quantized");
}

Tensor QuantTensor::codes() const {
  // value / scale is within a rounding of an integer.
  return round(div(value_.value(), scale().value()) + zero_point()).to(DType::int32);
}

}  // namespace nibble::quant
