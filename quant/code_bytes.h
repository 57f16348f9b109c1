#pragma once

#include <cstdint>

#include "tensor/tensor.h"

namespace nibble::quant {

// The codes of an int8 or uint8 tensor as the bytes that kernels take.
inline const std::uint8_t* code_bytes(const Tensor& codes) {
  if (codes.dtype() == DType::uint8) return codes.data<std::uint8_t>();
  return reinterpret_cast<const std::uint8_t*>(codes.data<std::int8_t>());
}
inline std::uint8_t* mutable_code_bytes(Tensor& codes) {
  if (codes.dtype() == DType::uint8) return codes.mutable_data<std::uint8_t>();
  return reinterpret_cast<std::uint8_t*>(codes.mutable_data<std::int8_t>());
}

}  // namespace nibble::quant
