#include "tensor/kernels/reduce.h"

#include <utility>

#include "tensor/kernels/elementwise_ops.h"
#include "tensor/simd/vec.h"

namespace nibble::NIBBLE_TIER {
namespace {

// Four chains hide the latency of the addition or comparison.
constexpr auto kChains = std::make_index_sequence<4>{};

float sum(const float* x, std::size_t n) noexcept {
  VecF total[4] = {VecF(0.0f), VecF(0.0f), VecF(0.0f), VecF(0.0f)};
  std::size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    unroll(kChains, [&](auto j) { total[j] += load(x + i + j * kLanes); });
  for (; i + kLanes <= n; i += kLanes) total[0] += load(x + i);
  if (i < n) total[1] += load_partial(x + i, n - i);
  return reduce_add((total[0] + total[1]) + (total[2] + total[3]));
}

struct Identity {
  VecF operator()(VecF x) const { return x; }
};

template <class Op, class Map>
float extremum(const float* x, std::size_t n) noexcept {
  const Op op;
  const Map map;
  const VecF first = map(VecF(x[0]));
  VecF best[4] = {first, first, first, first};
  std::size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    unroll(kChains, [&](auto j) { best[j] = op(best[j], map(load(x + i + j * kLanes))); });
  for (; i + kLanes <= n; i += kLanes) best[0] = op(best[0], map(load(x + i)));
  if (i < n) best[1] = op(best[1], map(load_partial(x + i, n - i, x[0])));
  return reduce(op(op(best[0], best[1]), op(best[2], best[3])), op);
}

}  // namespace

extern const ReduceKernels reduce_kernels = {
    .sum = sum,
    .max = extremum<Maximum, Identity>,
    .min = extremum<Minimum, Identity>,
    .abs_max = extremum<Maximum, Abs>,
};

}  // namespace nibble::NIBBLE_TIER
