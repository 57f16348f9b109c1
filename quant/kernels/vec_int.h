#pragma once

// What vec.h lacks for kernels on integers: blocks of 16 int32 or float32 lanes that are read from and
// written to bytes, products of 64 bits, and plain vectors of bytes and of 64-bit words. In the tier without
// vectors every vector is a single element, so that kernels have one body.

#include <cstddef>
#include <cstdint>
#include <cstring>

#if !defined(NIBBLE_TIER_scalar)
#include "tensor/simd/vec.h"
#endif

namespace nibble::quant::NIBBLE_TIER {
namespace {

#if defined(NIBBLE_TIER_scalar)

using VecF = float;
using VecI = std::int32_t;
using VecU8 = std::uint8_t;
using VecS8 = std::int8_t;
using FewU8 = std::uint8_t;
using FewS8 = std::int8_t;
using VecU64 = std::uint64_t;
inline constexpr std::size_t kLanes = 1;

inline float load(const float* p) { return *p; }
inline float load_partial(const float* p, std::size_t n) { return n == 0 ? 0.0f : *p; }
inline void store(float* p, float v) { *p = v; }
inline void store_partial(float* p, float v, std::size_t n) {
  if (n != 0) *p = v;
}
inline std::int32_t load(const std::int32_t* p) { return *p; }
inline std::int32_t load_partial(const std::int32_t* p, std::size_t n) { return n == 0 ? 0 : *p; }
inline void store(std::int32_t* p, std::int32_t v) { *p = v; }
inline void store_partial(std::int32_t* p, std::int32_t v, std::size_t n) {
  if (n != 0) *p = v;
}
inline std::int32_t to_int(float v) { return static_cast<std::int32_t>(v); }
inline float to_float(std::int32_t v) { return static_cast<float>(v); }

#else

using namespace nibble::NIBBLE_TIER;
using nibble::NIBBLE_TIER::load;
using nibble::NIBBLE_TIER::load_partial;
using nibble::NIBBLE_TIER::store;
using nibble::NIBBLE_TIER::store_partial;

// The compiler's own vectors: it knows the instructions for what follows, and their substitutes.
inline constexpr std::size_t kRegisterBytes = kLanes * sizeof(float);
using VecU8 [[gnu::vector_size(kRegisterBytes)]] = std::uint8_t;
using VecS8 [[gnu::vector_size(kRegisterBytes)]] = std::int8_t;
using FewU8 [[gnu::vector_size(8)]] = std::uint8_t;  // where a register would be too much
using FewS8 [[gnu::vector_size(8)]] = std::int8_t;
using VecU64 [[gnu::vector_size(kRegisterBytes)]] = std::uint64_t;

inline VecI load(const std::int32_t* p) { return VecI::load_unaligned(p); }
inline void store(std::int32_t* p, VecI v) { v.store_unaligned(p); }

// The first n lanes, 0 <= n <= kLanes; others are 0.
inline VecI load_partial(const std::int32_t* p, std::size_t n) {
#if defined(__AVX512F__)
  return VecI(_mm512_maskz_loadu_epi32(static_cast<__mmask16>((1u << n) - 1u), p));
#elif defined(__AVX2__)
  return VecI(_mm256_maskload_epi32(p, first_lanes(n)));
#else
  if (n == kLanes) return load(p);
  alignas(64) std::int32_t buffer[kLanes] = {};
  std::memcpy(buffer, p, n * sizeof *p);
  return VecI::load_aligned(buffer);
#endif
}

inline void store_partial(std::int32_t* p, VecI v, std::size_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_epi32(p, static_cast<__mmask16>((1u << n) - 1u), v);
#elif defined(__AVX2__)
  _mm256_maskstore_epi32(p, first_lanes(n), v);
#else
  if (n == kLanes) return store(p, v);
  alignas(64) std::int32_t buffer[kLanes];
  v.store_aligned(buffer);
  std::memcpy(p, buffer, n * sizeof *p);
#endif
}

#endif

// Any of the plain vectors, or a number.
template <class V>
V load_as(const void* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
template <class V>
void store_as(void* p, V v) {
  std::memcpy(p, &v, sizeof v);
}

// 16 lanes whatever the tier: bytes of a block fill a register of 128 bits.
inline constexpr std::size_t kBlock = 16, kParts = kBlock / kLanes;
template <class V>
struct Block {
  V part[kParts];
};
using IntBlock = Block<VecI>;
using FloatBlock = Block<VecF>;

// How many of the first n lanes of a block stand in a part.
inline std::size_t lanes_in_part(std::size_t n, std::size_t part) {
  const std::size_t before = part * kLanes;
  return n <= before ? 0 : n - before < kLanes ? n - before : kLanes;
}

// Parts that n lanes reach into.
template <bool Whole>
std::size_t parts_of(std::size_t n) {
  return Whole ? kParts : (n + kLanes - 1) / kLanes;
}

// A block of n lanes, known at compile time to be whole or not. Beyond n lanes are 0 and memory stays
// untouched.
template <class V, bool Whole, class T>
Block<V> load_block(const T* p, std::size_t n) {
  Block<V> block;
  for (std::size_t j = 0; j < kParts; ++j) {
    if constexpr (Whole)
      block.part[j] = load(p + j * kLanes);
    else
      block.part[j] = load_partial(p + j * kLanes, lanes_in_part(n, j));
  }
  return block;
}
template <bool Whole, class V, class T>
void store_block(T* p, const Block<V>& block, std::size_t n) {
  for (std::size_t j = 0; j < kParts; ++j) {
    if constexpr (Whole)
      store(p + j * kLanes, block.part[j]);
    else
      store_partial(p + j * kLanes, block.part[j], lanes_in_part(n, j));
  }
}

// n < 16 bytes, without a call.
inline void copy_few(std::uint8_t* to, const std::uint8_t* from, std::size_t n) {
  const auto copy = [&](std::size_t count) {
    if ((n & count) == 0) return;
    std::memcpy(to, from, count);
    to += count;
    from += count;
  };
  copy(8);
  copy(4);
  copy(2);
  copy(1);
}

// 16 bytes, zero- or sign-extended.
template <bool Signed>
IntBlock widen_codes(const std::uint8_t* p) {
  IntBlock block;
#if defined(__x86_64__) && !defined(NIBBLE_TIER_scalar)
  const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
#if defined(__AVX512F__)
  block.part[0] = VecI(Signed ? _mm512_cvtepi8_epi32(bytes) : _mm512_cvtepu8_epi32(bytes));
#elif defined(__AVX2__)
  const __m128i high = _mm_unpackhi_epi64(bytes, bytes);
  block.part[0] = VecI(Signed ? _mm256_cvtepi8_epi32(bytes) : _mm256_cvtepu8_epi32(bytes));
  block.part[1] = VecI(Signed ? _mm256_cvtepi8_epi32(high) : _mm256_cvtepu8_epi32(high));
#else
  // Every byte four times; the shift keeps the topmost.
  const __m128i low = _mm_unpacklo_epi8(bytes, bytes), high = _mm_unpackhi_epi8(bytes, bytes);
  const __m128i four[] = {_mm_unpacklo_epi16(low, low), _mm_unpackhi_epi16(low, low),
                          _mm_unpacklo_epi16(high, high), _mm_unpackhi_epi16(high, high)};
  for (std::size_t j = 0; j < kParts; ++j)
    block.part[j] = VecI(Signed ? _mm_srai_epi32(four[j], 24) : _mm_srli_epi32(four[j], 24));
#endif
#else
  std::int32_t lane[kBlock];
  for (std::size_t i = 0; i < kBlock; ++i) lane[i] = Signed ? static_cast<std::int8_t>(p[i]) : p[i];
  block = load_block<VecI, true>(lane, kBlock);
#endif
  return block;
}

template <bool Signed, bool Whole>
IntBlock load_codes(const std::uint8_t* p, std::size_t n) {
  if constexpr (Whole) return widen_codes<Signed>(p);
  std::uint8_t buffer[kBlock] = {};
  copy_few(buffer, p, n);
  return widen_codes<Signed>(buffer);
}

// The low byte of every lane. Lanes lie between -128 and 255.
template <bool Whole>
void store_codes(std::uint8_t* p, const IntBlock& block, std::size_t n) {
#if defined(__x86_64__) && !defined(NIBBLE_TIER_scalar)
#if defined(__AVX512F__)
  const __m128i bytes = _mm512_cvtepi32_epi8(block.part[0]);
#else
#if defined(__AVX2__)
  const __m256i words =
      _mm256_permute4x64_epi64(_mm256_packs_epi32(block.part[0], block.part[1]), _MM_SHUFFLE(3, 1, 2, 0));
  const __m128i low = _mm256_castsi256_si128(words), high = _mm256_extracti128_si256(words, 1);
#else
  const __m128i low = _mm_packs_epi32(block.part[0], block.part[1]),
                high = _mm_packs_epi32(block.part[2], block.part[3]);
#endif
  const __m128i mask = _mm_set1_epi16(0xff);
  const __m128i bytes = _mm_packus_epi16(_mm_and_si128(low, mask), _mm_and_si128(high, mask));
#endif
  if constexpr (Whole) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), bytes);
  } else {
#if defined(__AVX512F__)
    _mm_mask_storeu_epi8(p, static_cast<__mmask16>((1u << n) - 1u), bytes);
#else
    alignas(16) std::uint8_t buffer[kBlock];
    _mm_store_si128(reinterpret_cast<__m128i*>(buffer), bytes);
    copy_few(p, buffer, n);
#endif
  }
#else
  std::int32_t lane[kBlock];
  store_block<true>(lane, block, kBlock);
  for (std::size_t i = 0; i < (Whole ? kBlock : n); ++i) p[i] = static_cast<std::uint8_t>(lane[i]);
#endif
}

// The lanes of a vector as words of 64 bits: the even ones and the odd ones. SSE2 can neither compare such
// words nor shift each by its own count: there they are single numbers, as in the tier without vectors.
#if defined(__AVX2__) || (defined(__aarch64__) && !defined(NIBBLE_TIER_scalar))

using WordU = VecU64;
using WordS [[gnu::vector_size(kRegisterBytes)]] = std::int64_t;
inline constexpr std::size_t kWords = 2;  // vectors of words for a vector of lanes
struct Words {
  WordU word[kWords];
};

// Zero-extended.
inline Words widen(VecI v) {
  WordU pairs;
  std::memcpy(&pairs, &v, sizeof pairs);
  return {{pairs & 0xffffffffu, pairs >> 32}};
}

// The low 32 bits of every word.
inline VecI narrow(const Words& w) {
  const WordU pairs = (w.word[0] & 0xffffffffu) | (w.word[1] << 32);
  VecI::register_type lanes;
  std::memcpy(&lanes, &pairs, sizeof lanes);
  return VecI(lanes);
}

// Signed, in two's complement.
inline Words products(VecI a, VecI b) {
#if defined(__AVX512F__)
  const __m512i even = _mm512_mul_epi32(a, b);
  const __m512i odd = _mm512_mul_epi32(_mm512_srli_epi64(a, 32), _mm512_srli_epi64(b, 32));
#elif defined(__AVX2__)
  const __m256i even = _mm256_mul_epi32(a, b);
  const __m256i odd = _mm256_mul_epi32(_mm256_srli_epi64(a, 32), _mm256_srli_epi64(b, 32));
#else
  const int64x2_t x = vreinterpretq_s64_s32(a), y = vreinterpretq_s64_s32(b);
  const int64x2_t even = vmull_s32(vmovn_s64(x), vmovn_s64(y));
  const int64x2_t odd = vmull_s32(vshrn_n_s64(x, 32), vshrn_n_s64(y, 32));
#endif
  Words words;
  std::memcpy(&words.word[0], &even, sizeof even);
  std::memcpy(&words.word[1], &odd, sizeof odd);
  return words;
}

#else

using WordU = std::uint64_t;
using WordS = std::int64_t;
inline constexpr std::size_t kWords = kLanes;
struct Words {
  WordU word[kWords];
};

inline Words widen(VecI v) {
  std::int32_t lane[kLanes];
  store(lane, v);
  Words words;
  for (std::size_t i = 0; i < kLanes; ++i) words.word[i] = static_cast<std::uint32_t>(lane[i]);
  return words;
}

inline VecI narrow(const Words& w) {
  const auto lane = [&](std::size_t i) { return static_cast<std::int32_t>(w.word[i]); };
#if defined(NIBBLE_TIER_scalar)
  return lane(0);
#else
  // Not through memory, where a vector has to wait for four single stores.
  return VecI(_mm_setr_epi32(lane(0), lane(1), lane(2), lane(3)));
#endif
}

inline Words products(VecI a, VecI b) {
  std::int32_t x[kLanes], y[kLanes];
  store(x, a);
  store(y, b);
  Words words;
  for (std::size_t i = 0; i < kLanes; ++i)
    words.word[i] = static_cast<std::uint64_t>(std::int64_t{x[i]} * y[i]);
  return words;
}

#endif

}  // namespace
}  // namespace nibble::quant::NIBBLE_TIER
