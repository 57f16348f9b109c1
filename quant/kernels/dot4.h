#pragma once

// The primitives of the dot family: vectors of int32 lanes, every lane also seen as four bytes, and the sums
// of products of those bytes. This is all that differs between tiers; dot.cpp is written once, in these
// terms.
//
//   dot4(acc, a, w)   acc + a0 w0 + a1 w1 + a2 w2 + a3 w3 in every lane, exact for all bytes
//   pairs(a, w)       NIBBLE_HAS_PAIRS: (a0 w0 + a1 w1, a2 w2 + a3 w3) as two int16 a lane. Saturates: only
//   where it is
//                     proved that no pair exceeds int16.
//   add_pairs(x, y)   adds int16 to int16; the same proof
//   widen(acc, x)     acc + both int16 of x
//   in_order(v)       v is there before what follows begins
//   dot2(acc, a, w)   NIBBLE_HAS_WORDS: acc + a0 w0 + a1 w1, lanes seen as two int16; exact for bytes widened
//   to int16
//
// Weights are int8. Activations are uint8, or int8 where kSignedActivations.

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(NIBBLE_TIER_scalar)
#include <utility>
#else
#include "tensor/simd/vec.h"
#endif

namespace nibble::quant::NIBBLE_TIER {
namespace {

#if defined(NIBBLE_TIER_scalar)

// Plain C++ that also runs where nothing is known of the processor: a vector is a single lane, and sums are
// modulo 2^32, as everywhere; what a shift of the codes adds is taken away again.
using VecI = std::uint32_t;
using VecF = float;
inline constexpr std::size_t kLanes = 1;

inline VecI load_ints(const void* p) {
  VecI v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
inline void store_ints(void* p, VecI v) { std::memcpy(p, &v, sizeof v); }
inline VecF load(const float* p) { return *p; }
inline void store(float* p, VecF v) { *p = v; }
inline VecF to_float(VecI v) { return static_cast<float>(static_cast<std::int32_t>(v)); }
inline VecF fma(VecF a, VecF b, VecF c) { return c + a * b; }
inline void prefetch_bytes(const void*) {}
inline void prefetch_into_l2(const void*) {}
template <class F, std::size_t... I>
[[gnu::always_inline]] inline void unroll(std::index_sequence<I...>, F f) {
  (f(std::integral_constant<std::size_t, I>{}), ...);
}

#else

using namespace nibble::NIBBLE_TIER;

inline VecI load_ints(const void* p) { return VecI::load_unaligned(static_cast<const std::int32_t*>(p)); }
inline void store_ints(void* p, VecI v) { v.store_unaligned(static_cast<std::int32_t*>(p)); }
inline void prefetch_bytes(const void* p) { __builtin_prefetch(p); }
inline void prefetch_into_l2(const void* p) { __builtin_prefetch(p, 0, 2); }

#endif

// One instruction set's name for an operation on whole registers.
#if defined(__AVX512F__)
#define NIBBLE_MM(op) _mm512_##op
#elif defined(__AVX2__)
#define NIBBLE_MM(op) _mm256_##op
#else
#define NIBBLE_MM(op) _mm_##op
#endif

#if defined(NIBBLE_TIER_scalar)

inline constexpr bool kSignedActivations = false;

inline VecI dot4(VecI acc, VecI a, VecI w) {
  const auto product = [&](int byte) {
    return static_cast<std::uint8_t>(a >> byte) * static_cast<std::int8_t>(w >> byte);
  };
  return acc + static_cast<VecI>(product(0) + product(8) + product(16) + product(24));
}

#elif defined(__aarch64__)

inline constexpr bool kSignedActivations = true;

inline VecI dot4(VecI acc, VecI a, VecI w) {
  const int8x16_t x = vreinterpretq_s8_s32(a), y = vreinterpretq_s8_s32(w);
#if defined(__ARM_FEATURE_DOTPROD)
  return VecI(vdotq_s32(acc, x, y));
#else
  const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(y)));
  const int32x4_t high = vpaddlq_s16(vmull_s8(vget_high_s8(x), vget_high_s8(y)));
  return VecI(vaddq_s32(acc, vpaddq_s32(low, high)));
#endif
}

#elif defined(__AVX512VNNI__)

inline constexpr bool kSignedActivations = false;

inline VecI dot4(VecI acc, VecI a, VecI w) { return VecI(_mm512_dpbusd_epi32(acc, a, w)); }

#else

#define NIBBLE_HAS_WORDS
inline constexpr bool kSignedActivations = false;

inline VecI dot2(VecI acc, VecI a, VecI w) { return acc + VecI(NIBBLE_MM(madd_epi16)(a, w)); }

// Bytes 0 and 2, and 1 and 3, of every lane as int16: no shuffles, and a sum does not mind the order.
inline VecI even_unsigned(VecI v) { return v & VecI(0x00ff00ff); }
inline VecI odd_unsigned(VecI v) { return VecI(NIBBLE_MM(srli_epi16)(v, 8)); }
inline VecI even_signed(VecI v) { return VecI(NIBBLE_MM(srai_epi16)(NIBBLE_MM(slli_epi16)(v, 8), 8)); }
inline VecI odd_signed(VecI v) { return VecI(NIBBLE_MM(srai_epi16)(v, 8)); }

inline VecI dot4(VecI acc, VecI a, VecI w) {
  return dot2(dot2(acc, even_unsigned(a), even_signed(w)), odd_unsigned(a), odd_signed(w));
}

#if defined(__SSSE3__)
#define NIBBLE_HAS_PAIRS
inline VecI pairs(VecI a, VecI w) { return VecI(NIBBLE_MM(maddubs_epi16)(a, w)); }
inline VecI add_pairs(VecI x, VecI y) { return VecI(NIBBLE_MM(add_epi16)(x, y)); }
inline VecI widen(VecI acc, VecI x) { return dot2(acc, x, VecI(0x00010001)); }

// v is there before what follows begins: GCC would load operands of all rows first, and run out of registers.
inline void in_order(VecI v) {
#if defined(__AVX512F__)
  asm volatile("" ::"v"(static_cast<__m512i>(v)));
#elif defined(__AVX2__)
  asm volatile("" ::"x"(static_cast<__m256i>(v)));
#else
  asm volatile("" ::"x"(static_cast<__m128i>(v)));
#endif
}
#endif

#endif

// Weights of 8 / Bits planes in one vector: plane P as bytes, that is codes as they were stored, and 2 c for
// the codes c of single bits, which stand for -1 and 1 with a zero point of 1.
template <int Bits, int P>
VecI plane(VecI v) {
  if constexpr (Bits == 8) return v;
  constexpr int kShift = Bits * P - (Bits == 1 ? 1 : 0);
  constexpr auto kMask = static_cast<std::int32_t>((Bits == 1 ? 2u : (1u << Bits) - 1) * 0x01010101u);
  if constexpr (kShift > 0) return (v >> kShift) & VecI(kMask);
  if constexpr (kShift < 0) return (v << -kShift) & VecI(kMask);
  return v & VecI(kMask);
}

#undef NIBBLE_MM

}  // namespace
}  // namespace nibble::quant::NIBBLE_TIER
