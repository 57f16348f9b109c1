#pragma once

#include <cstdint>

#include "tensor/simd/dispatch.h"

namespace nibble::quant {

// What elements are ordered by: |x|, max(x, 0) or x.
enum class OrderBy { magnitude, positive, value };

// From the bits of a float32 a key with the same order among int32, in which NaN has a place: above infinity,
// as in PyTorch. Int is std::int32_t or a vector of such; masks instead of branches, since nobody can predict
// the sign of an activation.
template <OrderBy By, class Int>
Int order_key(Int bits) {
  const Int magnitude = bits & Int(0x7fffffff);
  const Int nan = (Int(0x7f800000) - magnitude) >> 31;
  const Int negative = bits >> 31;
  const auto number = [&]() -> Int {
    if constexpr (By == OrderBy::magnitude) return magnitude;
    if constexpr (By == OrderBy::positive) return magnitude & ~negative;
    return (magnitude ^ negative) - negative;
  };
  return (number() & ~nan) | (nan & Int(0x7fffffff));
}

struct OrderKeyKernels {
  // keys[i] = order_key(x[i]) for 0 <= i < n.
  void (*keys)(OrderBy by, const float* x, std::int64_t n, std::int32_t* keys) noexcept;
};

NIBBLE_DECLARE_KERNELS(OrderKeyKernels, order_key_kernels)

}  // namespace nibble::quant
