#include "tensor/kernels/probe.h"

#include "tensor/simd/vec.h"

namespace nibble::NIBBLE_TIER {
namespace {

// Two units with a latency of four or five cycles need ten at once; sixteen registers hold twelve and two
// operands.
constexpr std::size_t kChains = 12;
constexpr std::size_t kReads = 8;

float multiply_add(std::size_t rounds) noexcept {
  constexpr auto chains = std::make_index_sequence<kChains>{};
  const VecF factor = in_register(VecF(0.999f)), addend = in_register(VecF(0.001f));
  VecF sum[kChains];
  unroll(chains, [&](auto i) { sum[i] = VecF(static_cast<float>(i)); });
  for (std::size_t r = 0; r < rounds; ++r)
    unroll(chains, [&](auto i) { sum[i] = in_register(fma(sum[i], factor, addend)); });
  VecF total(0.0f);
  unroll(chains, [&](auto i) { total = total + sum[i]; });
  return reduce_add(total);
}

float read(const float* x, std::size_t n) noexcept {
  constexpr auto vecs = std::make_index_sequence<kReads>{};
  VecF sum[kReads];
  unroll(vecs, [&](auto j) { sum[j] = VecF(0.0f); });
  std::size_t i = 0;
  for (; i + kReads * kLanes <= n; i += kReads * kLanes)
    unroll(vecs, [&](auto j) { sum[j] = sum[j] + load(x + i + j * kLanes); });
  float rest = 0;
  for (; i < n; ++i) rest += x[i];
  VecF total(0.0f);
  unroll(vecs, [&](auto j) { total = total + sum[j]; });
  return reduce_add(total) + rest;
}

}  // namespace

extern const ProbeKernels probe_kernels = {
    .flops_per_round = 2 * kChains * kLanes, .multiply_add = multiply_add, .read = read};

}  // namespace nibble::NIBBLE_TIER
