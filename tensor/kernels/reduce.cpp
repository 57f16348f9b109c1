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
struct Magnitude {
  VecF operator()(VecF x) const { return abs(x); }
};

// Vectors without a thought for NaN, which is looked for beside them.
struct Largest {
  VecF operator()(VecF v, VecF best) const { return larger_or_second(v, best); }
};
struct Smallest {
  VecF operator()(VecF v, VecF best) const { return smaller_or_second(v, best); }
};

template <class Best, class Op, class Map>
float extremum(const float* x, std::size_t n) noexcept {
  const Best better;
  const Op op;
  const Map map;
  const VecF first = map(VecF(x[0]));
  VecF best[4] = {first, first, first, first};
  MaskF nan = is_nan(first);
  const auto take = [&](std::size_t chain, VecF v) {
    best[chain] = better(v, best[chain]);
    nan = nan | is_nan(v);
  };
  std::size_t i = 0;
  for (; i + 4 * kLanes <= n; i += 4 * kLanes)
    unroll(kChains, [&](auto j) { take(j, map(load(x + i + j * kLanes))); });
  for (; i + kLanes <= n; i += kLanes) take(0, map(load(x + i)));
  if (i < n) take(1, map(load_partial(x + i, n - i, x[0])));
  if (any(nan)) return __builtin_nanf("");
  return reduce(better(better(best[0], best[1]), better(best[2], best[3])), op);
}

}  // namespace

extern const ReduceKernels reduce_kernels = {
    .sum = sum,
    .max = extremum<Largest, Maximum, Identity>,
    .min = extremum<Smallest, Minimum, Identity>,
    .abs_max = extremum<Largest, Maximum, Magnitude>,
};

}  // namespace nibble::NIBBLE_TIER
