#include "quant/kernels/dot4.h"
#include "quant/kernels/int_probe.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

// Enough for two units with a latency of five cycles, or what 16 registers leave beside the operands: there
// the multiplication is not part of the chain.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr std::size_t kChains = 12;
#else
constexpr std::size_t kChains = 8;
#endif
constexpr std::size_t kWeights = 4;

// v, of which the compiler knows nothing any more: products of what does not change would leave the loop.
inline VecI opaque(VecI v) {
#if defined(NIBBLE_TIER_scalar)
  asm("" : "+m"(v));
  return v;
#else
  VecI::register_type r = v;
#if defined(__AVX512F__)
  asm("" : "+v"(r));
#elif defined(__x86_64__)
  asm("" : "+x"(r));
#else
  asm("" : "+w"(r));
#endif
  return VecI(r);
#endif
}

// The sum of a chain, kept where it is: GCC 12 would copy it to and fro in every round.
inline VecI in_place(VecI v) {
#if defined(NIBBLE_TIER_scalar)
  return v;
#else
  return opaque(v);
#endif
}

// A link of a chain, as dot.cpp adds up products: kProducts a lane, of the numbers of which every lane is
// kOnes.
struct AnyBytes {
#if defined(NIBBLE_HAS_WORDS)
  static constexpr std::size_t kProducts = 2;
  static constexpr std::int32_t kOnes = 0x00010001;
  static VecI add(VecI acc, VecI a, const VecI (&w)[kWeights]) { return dot2(acc, a, w[0]); }
#else
  static constexpr std::size_t kProducts = 4;
  static constexpr std::int32_t kOnes = 0x01010101;
  static VecI add(VecI acc, VecI a, const VecI (&w)[kWeights]) { return dot4(acc, a, w[0]); }
#endif
};

#if defined(NIBBLE_HAS_PAIRS)
struct Codes {
  static constexpr std::size_t kProducts = 4 * kWeights;
  static constexpr std::int32_t kOnes = 0x01010101;
  static VecI add(VecI acc, VecI a, const VecI (&w)[kWeights]) {
    VecI sum = pairs(a, w[0]);
    unroll(std::make_index_sequence<kWeights - 1>{},
           [&](auto u) { sum = add_pairs(sum, pairs(a, w[u + 1])); });
    return widen(acc, sum);
  }
};
#else
using Codes = AnyBytes;
#endif

template <class Link>
std::int32_t run(std::size_t rounds) noexcept {
  constexpr auto chains = std::make_index_sequence<kChains>{};
  VecI a(Link::kOnes), acc[kChains], w[kWeights];
  for (VecI& each : w) each = opaque(VecI(Link::kOnes));
  unroll(chains, [&](auto i) { acc[i] = VecI(0); });
  for (std::size_t r = 0; r < rounds; ++r)
    unroll(chains, [&](auto i) {
      a = opaque(a);
      acc[i] = in_place(Link::add(acc[i], a, w));
    });
  VecI total(0);
  unroll(chains, [&](auto i) { total = total + acc[i]; });
  std::int32_t lanes[kLanes];
  store_ints(lanes, total);
  return lanes[0];
}

template <class Link>
constexpr IntProbe kProbe = {2 * kChains* kLanes* Link::kProducts, run<Link>};

}  // namespace

extern const IntProbe byte_probe = kProbe<AnyBytes>;
extern const IntProbe code_probe = kProbe<Codes>;

}  // namespace nibble::quant::NIBBLE_TIER
