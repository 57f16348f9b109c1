#include "quant/kernels/order_keys.h"

#include <bit>

#include "tensor/simd/vec.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

using namespace nibble::NIBBLE_TIER;

template <OrderBy By>
void keys_by(const float* x, std::int64_t n, std::int32_t* keys) {
  constexpr auto kStep = static_cast<std::int64_t>(kLanes);
  std::int64_t i = 0;
  for (; i + kStep <= n; i += kStep) order_key<By>(bits_of(load(x + i))).store_unaligned(keys + i);
  for (; i < n; ++i) keys[i] = order_key<By>(std::bit_cast<std::int32_t>(x[i]));
}

void keys(OrderBy by, const float* x, std::int64_t n, std::int32_t* keys) noexcept {
  switch (by) {
    case OrderBy::magnitude:
      return keys_by<OrderBy::magnitude>(x, n, keys);
    case OrderBy::positive:
      return keys_by<OrderBy::positive>(x, n, keys);
    case OrderBy::value:
      return keys_by<OrderBy::value>(x, n, keys);
  }
}

}  // namespace

extern const OrderKeyKernels order_key_kernels = {.keys = keys};

}  // namespace nibble::quant::NIBBLE_TIER
