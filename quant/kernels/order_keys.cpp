#include "quant/kernels/order_keys.h"

#include <bit>

#include "tensor/simd/vec.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

using namespace nibble::NIBBLE_TIER;

template <OrderBy By>
void keys_by(const float* x, std::int64_t begin, std::int64_t end, std::int32_t* keys,
             std::int32_t* origins) {
  constexpr auto kStep = static_cast<std::int64_t>(kLanes);
  std::int64_t i = begin;
  VecI origin = VecI(static_cast<std::int32_t>(begin)) + lane_numbers();
  for (; i + kStep <= end; i += kStep, origin = origin + VecI(static_cast<std::int32_t>(kLanes))) {
    order_key<By>(bits_of(load(x + i))).store_unaligned(keys + i);
    origin.store_unaligned(origins + i);
  }
  for (; i < end; ++i) {
    keys[i] = order_key<By>(std::bit_cast<std::int32_t>(x[i]));
    origins[i] = static_cast<std::int32_t>(i);
  }
}

void keys(OrderBy by, const float* x, std::int64_t begin, std::int64_t end, std::int32_t* keys,
          std::int32_t* origins) noexcept {
  switch (by) {
    case OrderBy::magnitude:
      return keys_by<OrderBy::magnitude>(x, begin, end, keys, origins);
    case OrderBy::positive:
      return keys_by<OrderBy::positive>(x, begin, end, keys, origins);
    case OrderBy::value:
      return keys_by<OrderBy::value>(x, begin, end, keys, origins);
  }
}

}  // namespace

extern const OrderKeyKernels order_key_kernels = {.keys = keys};

}  // namespace nibble::quant::NIBBLE_TIER
