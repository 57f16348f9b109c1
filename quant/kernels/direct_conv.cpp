#include "quant/kernels/direct_conv.h"

#include <utility>

#include "quant/kernels/dot4.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

constexpr std::size_t kChannels = 4;
// 4 x 4 sums leave half of 32 registers to operands; 4 x 2 most of 16.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr std::size_t kVectors = 4;
#else
constexpr std::size_t kVectors = 2;
#endif

inline VecI weights_of(const std::uint32_t* weight) { return VecI(static_cast<std::int32_t>(*weight)); }

// f(k) for the four channels, and f(v) for the vectors, written out: the sums have to stay in registers.
template <class F>
[[gnu::always_inline]] inline void each_channel(F f) {
  unroll(std::make_index_sequence<kChannels>(), f);
}

template <std::size_t V>
struct Sums {
  VecI lanes[kChannels][V];

  template <class F>
  [[gnu::always_inline]] static void each_vector(F f) {
    unroll(std::make_index_sequence<V>(), f);
  }
  [[gnu::always_inline]] void start(const std::int32_t* init) {
    each_channel([&](auto k) { each_vector([&](auto v) { lanes[k][v] = VecI(init[k]); }); });
  }
  [[gnu::always_inline]] void store(const DirectConvTile& t, std::size_t x) const {
    each_channel([&](auto k) {
      each_vector([&](auto v) { store_ints(t.acc + k * t.acc_stride + x + v * kLanes, lanes[k][v]); });
    });
  }
};

// V vectors of positions from x.
template <std::size_t V>
[[gnu::always_inline]] inline void run_exact(const DirectConvTile& t, std::size_t x) {
  Sums<V> sums;
  sums.start(t.init);
  const std::uint32_t* weight = t.weight;
  for (std::size_t i = 0; i < t.terms; ++i, weight += kChannels) {
    const std::uint32_t* const input = t.input + t.offset[i] + x;
    VecI a[V];
    sums.each_vector([&](auto v) { a[v] = load_ints(input + v * kLanes); });
    each_channel([&](auto k) {
      const VecI w = weights_of(weight + k);
      sums.each_vector([&](auto v) { sums.lanes[k][v] = dot4(sums.lanes[k][v], a[v], w); });
    });
  }
  sums.store(t, x);
}

#if defined(NIBBLE_HAS_PAIRS)
// V vectors of positions from x: the sums of pairs have the registers, those of int32 wait where they go.
template <std::size_t V>
[[gnu::always_inline]] inline void run_pairs(const DirectConvTile& t, std::size_t x) {
  std::size_t i = 0;
  do {
    const std::size_t end = t.terms - i < t.pairs_depth ? t.terms : i + t.pairs_depth;
    const bool first = i == 0;
    VecI few[kChannels][V];
    each_channel([&](auto k) { Sums<V>::each_vector([&](auto v) { few[k][v] = VecI(0); }); });
    for (; i < end; ++i) {
      const std::uint32_t* const input = t.input + t.offset[i] + x;
      VecI a[V];
      Sums<V>::each_vector([&](auto v) { a[v] = load_ints(input + v * kLanes); });
      each_channel([&](auto k) {
        const VecI w = weights_of(t.weight + i * kChannels + k);
        Sums<V>::each_vector([&](auto v) {
          few[k][v] = add_pairs(few[k][v], pairs(a[v], w));
          in_order(few[k][v]);
        });
      });
    }
    each_channel([&](auto k) {
      Sums<V>::each_vector([&](auto v) {
        std::int32_t* const acc = t.acc + k * t.acc_stride + x + v * kLanes;
        store_ints(acc, widen(first ? VecI(t.init[k]) : load_ints(acc), few[k][v]));
      });
    });
  } while (i < t.terms);
}
#endif

void run(const DirectConvTile& t) noexcept {
  std::size_t x = 0;
#if defined(NIBBLE_HAS_PAIRS)
  if (t.pairs_depth != 0) {
    for (; x + kLanes < t.positions; x += 2 * kLanes) run_pairs<2>(t, x);
    if (x < t.positions) run_pairs<1>(t, x);
    return;
  }
#endif
  for (; x + (kVectors - 1) * kLanes < t.positions; x += kVectors * kLanes) run_exact<kVectors>(t, x);
  for (; x + kLanes < t.positions; x += 2 * kLanes) run_exact<2>(t, x);
  for (; x < t.positions; x += kLanes) run_exact<1>(t, x);
}

}  // namespace

extern const DirectConvKernels direct_conv_kernels = {
    .lanes = kLanes, .signed_activations = kSignedActivations, .run = run};

}  // namespace nibble::quant::NIBBLE_TIER
