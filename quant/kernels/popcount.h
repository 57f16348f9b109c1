#pragma once

// Counting the ones of a AND w, for kernel sources: kColumns columns with 32 bits each, against 32 bits that
// all columns share.
//
//   split_shared  the form in which 32 shared bits lie in memory, kSharedWords words
//   Columns       the bits of the columns, from as many words as there are columns
//   Counter       one count a column, with room for kMaxWords words: add() counts one, add_step() kStep at
//                 once. total() takes the last word beside them if kLastApart, and returns the counts.

#include <cstddef>
#include <cstdint>

#include "tensor/simd/vec.h"

#if defined(NIBBLE_TIER_scalar)
#elif defined(__x86_64__)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

namespace nibble::quant::NIBBLE_TIER {
namespace {

using nibble::NIBBLE_TIER::VecI;

// Written out: without the instruction the compiler's own calls its library.
inline std::uint32_t popcount(std::uint32_t x) {
#if defined(__POPCNT__)
  return static_cast<std::uint32_t>(__builtin_popcount(x));
#else
  x -= x >> 1 & 0x55555555u;
  x = (x & 0x33333333u) + (x >> 2 & 0x33333333u);
  return ((x + (x >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24;
#endif
}

#if defined(__SSSE3__) && !defined(__AVX512BW__) && !defined(NIBBLE_TIER_scalar)
// The halves of every byte are separated here, once for all columns, so that the AND that selects also masks
// the index into the table of counts.
inline constexpr std::size_t kSharedWords = 2;
inline void split_shared(std::uint32_t bits, std::uint32_t* words) {
  words[0] = bits & 0x0f0f0f0fu;
  words[1] = bits >> 4 & 0x0f0f0f0fu;
}
#else
inline constexpr std::size_t kSharedWords = 1;
inline void split_shared(std::uint32_t bits, std::uint32_t* words) { *words = bits; }
#endif

#if defined(NIBBLE_TIER_scalar)

inline constexpr std::size_t kColumns = 4, kStep = 1, kLastApart = 0, kMaxWords = 128;

struct Columns {
  std::uint32_t bits[kColumns];

  void load(const std::uint32_t* p) {
    for (std::size_t j = 0; j < kColumns; ++j) bits[j] = p[j];
  }
};

struct Counter {
  std::int32_t counts[kColumns] = {};

  void add(const std::uint32_t* a, const Columns& w) {
    for (std::size_t j = 0; j < kColumns; ++j)
      counts[j] += static_cast<std::int32_t>(popcount(*a & w.bits[j]));
  }
  void add_step(const std::uint32_t* a, std::size_t, const Columns (&w)[1]) { add(a, w[0]); }
  VecI total(const std::uint32_t*, const Columns&) const { return VecI::load_unaligned(counts); }
};

#elif defined(__AVX512BW__)

inline constexpr std::size_t kColumns = 16;

inline __m512i broadcast(const std::uint32_t* p) { return _mm512_set1_epi32(static_cast<int>(*p)); }

struct Columns {
  __m512i bits;

  void load(const std::uint32_t* p) { bits = _mm512_loadu_si512(p); }
};

// Truth tables of three inputs, for vpternlog.
inline constexpr int kAndXor = 0x6a;    // (x & y) ^ z
inline constexpr int kXor = 0x96;       // x ^ y ^ z: the sum of three bits
inline constexpr int kMajority = 0xe8;  // the carry of three bits
// The carry of x and two bits more, when y is the sum of x and one of them, and z the sum of all: where y is
// set, x and the first differ and the second decides, ~z; elsewhere x does.
inline constexpr int kCarryOfSums = 0x74;

// Adds two products to the ones and returns the carries. The products themselves never exist.
inline __m512i add_products(__m512i& ones, const std::uint32_t* a, std::size_t a_step, __m512i w0,
                            __m512i w1) {
  const __m512i sum = _mm512_ternarylogic_epi32(broadcast(a), w0, ones, kAndXor);
  const __m512i sums = _mm512_ternarylogic_epi32(broadcast(a + a_step), w1, sum, kAndXor);
  const __m512i carries = _mm512_ternarylogic_epi32(ones, sum, sums, kCarryOfSums);
  ones = sums;
  return carries;
}

inline __m512i half_add(__m512i& sum, __m512i x) {
  const __m512i carries = _mm512_and_si512(sum, x);
  sum = _mm512_xor_si512(sum, x);
  return carries;
}

#if defined(__AVX512VPOPCNTDQ__)

// One port of the core counts ones, two do logic: a carry-save adder halves the counting.
inline constexpr std::size_t kStep = 2, kLastApart = 0, kMaxWords = 128;

struct Counter {
  __m512i ones = _mm512_setzero_si512(), pairs = _mm512_setzero_si512();

  void add_pairs(__m512i bits) { pairs = _mm512_add_epi32(pairs, _mm512_popcnt_epi32(bits)); }
  void add(const std::uint32_t* a, const Columns& w) {
    add_pairs(half_add(ones, _mm512_and_si512(broadcast(a), w.bits)));
  }
  void add_step(const std::uint32_t* a, std::size_t a_step, const Columns (&w)[kStep]) {
    add_pairs(add_products(ones, a, a_step, w[0].bits, w[1].bits));
  }
  VecI total(const std::uint32_t*, const Columns&) const {
    return _mm512_add_epi32(_mm512_add_epi32(pairs, pairs), _mm512_popcnt_epi32(ones));
  }
};

#else

// Counting by a table of nibbles takes seven instructions: two levels of carry-save adders leave a quarter of
// it. Bytes of `fours` grow by 8 a step of four at most.
inline constexpr std::size_t kStep = 4, kLastApart = 0, kMaxWords = 4 * (255 / 8);
static_assert(kMaxWords / kStep * 8 <= 255);

struct Counter {
  __m512i ones = _mm512_setzero_si512(), twos = _mm512_setzero_si512(), fours = _mm512_setzero_si512();

  static __m512i popcount_bytes(__m512i v) {
    const __m512i table =
        _mm512_broadcast_i32x4(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
    const __m512i mask = _mm512_set1_epi8(0x0f);
    return _mm512_add_epi8(_mm512_shuffle_epi8(table, _mm512_and_si512(v, mask)),
                           _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(v, 4), mask)));
  }
  void add_fours(__m512i bits) { fours = _mm512_add_epi8(fours, popcount_bytes(bits)); }
  void add(const std::uint32_t* a, const Columns& w) {
    add_fours(half_add(twos, half_add(ones, _mm512_and_si512(broadcast(a), w.bits))));
  }
  void add_step(const std::uint32_t* a, std::size_t a_step, const Columns (&w)[kStep]) {
    const __m512i x = add_products(ones, a, a_step, w[0].bits, w[1].bits);
    const __m512i y = add_products(ones, a + 2 * a_step, a_step, w[2].bits, w[3].bits);
    const __m512i carries = _mm512_ternarylogic_epi32(twos, x, y, kMajority);
    twos = _mm512_ternarylogic_epi32(twos, x, y, kXor);
    add_fours(carries);
  }
  VecI total(const std::uint32_t*, const Columns&) const {
    const auto add_neighbours = [](__m512i v) {
      return _mm512_add_epi16(_mm512_and_si512(v, _mm512_set1_epi16(0xff)), _mm512_srli_epi16(v, 8));
    };
    const __m512i two = popcount_bytes(twos);
    const __m512i rest = _mm512_add_epi8(_mm512_add_epi8(two, two), popcount_bytes(ones));
    const __m512i sums = _mm512_add_epi16(_mm512_slli_epi16(add_neighbours(fours), 2), add_neighbours(rest));
    return _mm512_madd_epi16(sums, _mm512_set1_epi16(1));
  }
};

#endif

#else

// Vectors of bytes count: each grows by 8 a word at most, and has to be widened before it wraps. The last
// word is added on the way, so that there is room for 32: a k of 1024 should not need a second turn for its
// last word.
inline constexpr std::size_t kStep = 1, kLastApart = 1, kMaxWords = 255 / 8 + kLastApart;
static_assert((kMaxWords - kLastApart) * 8 <= 255);

#if defined(__SSSE3__)

#if defined(__AVX2__)
#define NIBBLE_MM(op) _mm256_##op
inline constexpr std::size_t kColumns = 8;
using Vec = __m256i;
inline Vec repeat(__m128i x) { return _mm256_broadcastsi128_si256(x); }
#else
#define NIBBLE_MM(op) _mm_##op
inline constexpr std::size_t kColumns = 4;
using Vec = __m128i;
inline Vec repeat(__m128i x) { return x; }
#endif

inline Vec zeros() { return Vec{}; }
inline Vec add_bytes(Vec x, Vec y) { return NIBBLE_MM(add_epi8)(x, y); }

struct Columns {
  Vec low, high;

  void load(const std::uint32_t* p) {
    low = VecI::load_unaligned(reinterpret_cast<const std::int32_t*>(p));
    high = NIBBLE_MM(srli_epi16)(low, 4);
  }
};

inline Vec count_bytes(const std::uint32_t* a, const Columns& w) {
  const Vec table = repeat(_mm_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4));
  const auto half = [&](std::uint32_t bits, Vec nibbles) {
    return NIBBLE_MM(shuffle_epi8)(table, NIBBLE_MM(set1_epi32)(static_cast<int>(bits)) & nibbles);
  };
  return add_bytes(half(a[0], w.low), half(a[1], w.high));
}

inline Vec widened(Vec x, Vec y) {
  const auto add_neighbours = [](Vec v) { return NIBBLE_MM(maddubs_epi16)(v, NIBBLE_MM(set1_epi8)(1)); };
  return NIBBLE_MM(madd_epi16)(NIBBLE_MM(add_epi16)(add_neighbours(x), add_neighbours(y)),
                               NIBBLE_MM(set1_epi16)(1));
}

#undef NIBBLE_MM

#elif defined(__x86_64__)

inline constexpr std::size_t kColumns = 4;
using Vec = __m128i;

inline Vec zeros() { return _mm_setzero_si128(); }
inline Vec add_bytes(Vec x, Vec y) { return _mm_add_epi8(x, y); }

struct Columns {
  Vec bits;

  void load(const std::uint32_t* p) { bits = _mm_loadu_si128(reinterpret_cast<const Vec*>(p)); }
};

inline Vec count_bytes(const std::uint32_t* a, const Columns& w) {
  const Vec pairs = _mm_set1_epi8(0x55), fours = _mm_set1_epi8(0x33), bytes = _mm_set1_epi8(0x0f);
  Vec x = _mm_and_si128(_mm_set1_epi32(static_cast<int>(*a)), w.bits);
  x = _mm_sub_epi8(x, _mm_and_si128(_mm_srli_epi16(x, 1), pairs));
  x = _mm_add_epi8(_mm_and_si128(x, fours), _mm_and_si128(_mm_srli_epi16(x, 2), fours));
  return _mm_and_si128(_mm_add_epi8(x, _mm_srli_epi16(x, 4)), bytes);
}

inline Vec widened(Vec x, Vec y) {
  const auto add_neighbours = [](Vec v) {
    return _mm_add_epi16(_mm_and_si128(v, _mm_set1_epi16(0xff)), _mm_srli_epi16(v, 8));
  };
  return _mm_madd_epi16(_mm_add_epi16(add_neighbours(x), add_neighbours(y)), _mm_set1_epi16(1));
}

#else

inline constexpr std::size_t kColumns = 4;
using Vec = uint8x16_t;

inline Vec zeros() { return vdupq_n_u8(0); }
inline Vec add_bytes(Vec x, Vec y) { return vaddq_u8(x, y); }

struct Columns {
  Vec bits;

  void load(const std::uint32_t* p) { bits = vreinterpretq_u8_u32(vld1q_u32(p)); }
};

inline Vec count_bytes(const std::uint32_t* a, const Columns& w) {
  return vcntq_u8(vandq_u8(vreinterpretq_u8_u32(vdupq_n_u32(*a)), w.bits));
}

inline int32x4_t widened(Vec x, Vec y) {
  return vreinterpretq_s32_u32(vpaddlq_u16(vpadalq_u8(vpaddlq_u8(x), y)));
}

#endif

struct Counter {
  Vec bytes = zeros();

  void add(const std::uint32_t* a, const Columns& w) { bytes = add_bytes(bytes, count_bytes(a, w)); }
  void add_step(const std::uint32_t* a, std::size_t, const Columns (&w)[1]) { add(a, w[0]); }
  VecI total(const std::uint32_t* a, const Columns& w) const { return widened(bytes, count_bytes(a, w)); }
};

#endif

}  // namespace
}  // namespace nibble::quant::NIBBLE_TIER
