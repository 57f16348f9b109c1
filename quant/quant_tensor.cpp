#include "quant/quant_tensor.h"

#include <limits>

#include "tensor/elementwise.h"
#include "tensor/factory.h"

namespace nibble::quant {

bool QuantTensor::is_quantized(const Variable& x) {
  return dynamic_cast<const QuantParams*>(x.annotation().get()) != nullptr;
}

QuantTensor::QuantTensor(const Variable& x)
    : value_(x), params_(std::dynamic_pointer_cast<const QuantParams>(x.annotation())) {
  NIBBLE_CHECK(params_ != nullptr, "QuantTensor: the variable of shape ", x.shape(), " is not quantized");
}

Tensor QuantTensor::codes() const {
  // value / scale is within a rounding of an integer. In float32 the largest 32-bit code is 2^31.
  const Tensor ratio = div(value_.value().to(DType::float64), scale().value().to(DType::float64));
  const double largest = std::numeric_limits<std::int32_t>::max();
  return minimum(round(ratio + zero_point()), scalar(largest, DType::float64)).to(DType::int32);
}

}  // namespace nibble::quant
