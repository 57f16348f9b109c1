#pragma once

// The vector type of kernel sources; the only file that names xsimd. Include it in files compiled by
// nibble_kernels() alone: NIBBLE_TIER is the tier, and the width follows from its compiler flags.

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>
#include <xsimd/xsimd.hpp>

#include "tensor/simd/quotient.h"

namespace nibble::NIBBLE_TIER {
namespace {

using VecF = xsimd::batch<float>;
using VecI = xsimd::batch<std::int32_t>;
using MaskF = xsimd::batch_bool<float>;  // of comparisons
inline constexpr std::size_t kLanes = VecF::size;

inline VecF load(const float* p) { return VecF::load_unaligned(p); }
inline void store(float* p, VecF v) { v.store_unaligned(p); }

#if defined(__AVX2__) && !defined(__AVX512F__)
// The sign bits of the first n lanes.
inline __m256i first_lanes(std::size_t n) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(n)),
                            _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}
#endif

// The first n < kLanes elements; the others are `fill`. Reads no byte beyond them.
inline VecF load_partial(const float* p, std::size_t n, float fill = 0.0f) {
#if defined(__AVX512F__)
  return _mm512_mask_loadu_ps(_mm512_set1_ps(fill), static_cast<__mmask16>((1u << n) - 1u), p);
#elif defined(__AVX2__)
  const __m256i mask = first_lanes(n);
  return _mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, mask), _mm256_castsi256_ps(mask));
#else
  alignas(64) float buffer[kLanes];
  VecF(fill).store_aligned(buffer);
  std::memcpy(buffer, p, n * sizeof(float));
  return VecF::load_aligned(buffer);
#endif
}

inline void store_partial(float* p, VecF v, std::size_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1u << n) - 1u), v);
#elif defined(__AVX2__)
  _mm256_maskstore_ps(p, first_lanes(n), v);
#else
  alignas(64) float buffer[kLanes];
  v.store_aligned(buffer);
  std::memcpy(p, buffer, n * sizeof(float));
#endif
}

// A vector of n elements, known at compile time to be whole or not.
template <bool Whole>
VecF load_some(const float* p, std::ptrdiff_t n) {
  if constexpr (Whole) return load(p);
  return load_partial(p, static_cast<std::size_t>(n));
}

template <bool Whole>
void store_some(float* p, VecF v, std::ptrdiff_t n) {
  if constexpr (Whole) return store(p, v);
  store_partial(p, v, static_cast<std::size_t>(n));
}

// Not v != v: xsimd's comparison is an ordered one on some tiers, false for NaN.
inline xsimd::batch_bool<float> is_nan(VecF v) { return xsimd::isnan(v); }

// What takes the place of the largest so far: a larger number, or NaN, which nothing but another NaN
// replaces.
inline xsimd::batch_bool<float> is_greater_or_nan(VecF v, VecF largest) { return (v > largest) | is_nan(v); }

// a < b ? a : b and a > b ? a : b: b if one of them is NaN.
inline VecF smaller_or_second(VecF a, VecF b) {
#if defined(__x86_64__)
  return xsimd::min(a, b);
#else
  return select(a < b, a, b);
#endif
}
inline VecF larger_or_second(VecF a, VecF b) {
#if defined(__x86_64__)
  return xsimd::max(a, b);
#else
  return select(a > b, a, b);
#endif
}

// condition ? yes : no. Of xsimd's select for AVX2, GCC 12 makes a comparison of the condition with 0 and a
// blend, and drops the former only where a condition is used once.
inline VecF blend(MaskF condition, VecF yes, VecF no) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  __m256 result;
  asm("vblendvps %[condition], %[yes], %[no], %[result]"
      : [result] "=x"(result)
      : [condition] "x"(static_cast<__m256>(condition)), [yes] "xm"(static_cast<__m256>(yes)),
        [no] "x"(static_cast<__m256>(no)));
  return result;
#else
  return select(condition, yes, no);
#endif
}

inline VecI to_int(VecF v) { return xsimd::to_int(v); }  // truncates
inline VecF to_float(VecI v) { return xsimd::to_float(v); }

inline VecI bits_of(VecF v) { return xsimd::bitwise_cast<VecI>(v); }
inline VecF from_bits(VecI v) { return xsimd::bitwise_cast<VecF>(v); }

// 0, 1, 2 ...
inline VecI lane_numbers() {
  alignas(64) std::int32_t numbers[kLanes];
  for (std::size_t i = 0; i < kLanes; ++i) numbers[i] = static_cast<std::int32_t>(i);
  return VecI::load_aligned(numbers);
}

// table[index] of 16 elements, 0 <= index < 16.
inline VecF lookup_16(const float* table, VecI index) {
#if defined(__AVX512F__)
  return _mm512_permutexvar_ps(index, load(table));
#elif defined(__AVX2__)
  const __m256 low = _mm256_permutevar8x32_ps(load(table), index),
               high = _mm256_permutevar8x32_ps(load(table + 8), index);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(index, 28)));
#else
  alignas(64) std::int32_t lane[kLanes];
  alignas(64) float found[kLanes];
  index.store_aligned(lane);
  for (std::size_t i = 0; i < kLanes; ++i) found[i] = table[lane[i]];
  return VecF::load_aligned(found);
#endif
}

// bytes[offset], zero-extended, with 0 <= offset < size.
inline VecI gather_bytes(const std::uint8_t* bytes, std::int32_t size, VecI offset) {
#if defined(__AVX2__)
  // The instruction reads four bytes: near the end the last four, of which others are wanted.
  if (size >= 4) {
    const VecI at = xsimd::min(offset, VecI(size - 4)), shift = (offset - at) << 3;
#if defined(__AVX512F__)
    const __m512i words = _mm512_srlv_epi32(_mm512_i32gather_epi32(at, bytes, 1), shift);
    return VecI(_mm512_and_si512(words, _mm512_set1_epi32(0xff)));
#else
    const __m256i words =
        _mm256_srlv_epi32(_mm256_i32gather_epi32(reinterpret_cast<const int*>(bytes), at, 1), shift);
    return VecI(_mm256_and_si256(words, _mm256_set1_epi32(0xff)));
#endif
  }
#endif
  static_cast<void>(size);
  alignas(64) std::int32_t lane[kLanes];
  offset.store_aligned(lane);
#if defined(__x86_64__) && !defined(__AVX2__)
  // Not back through memory, where a vector has to wait for four single stores.
  return _mm_setr_epi32(bytes[lane[0]], bytes[lane[1]], bytes[lane[2]], bytes[lane[3]]);
#else
  for (std::int32_t& element : lane) element = bytes[element];
  return VecI::load_aligned(lane);
#endif
}

// a * b + c with one rounding where the tier has the instruction, with two on sse2. (xsimd 8.1 rounds twice
// on AVX-512 and NEON as well.)
inline VecF fma(VecF a, VecF b, VecF c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__aarch64__)
  return vfmaq_f32(c, a, b);
#else
  return xsimd::fma(a, b, c);
#endif
}

// a * b + c with one rounding; on sse2 with a second one from double, where the product is exact.
inline VecF fused_multiply_add(VecF a, VecF b, VecF c) {
#if defined(__x86_64__) && !defined(__FMA__)
  const auto low_half = [](__m128 x, __m128 y, __m128 z) {
    return _mm_cvtpd_ps(_mm_add_pd(_mm_mul_pd(_mm_cvtps_pd(x), _mm_cvtps_pd(y)), _mm_cvtps_pd(z)));
  };
  const auto high = [](__m128 v) { return _mm_movehl_ps(v, v); };
  return _mm_movelh_ps(low_half(a, b, c), low_half(high(a), high(b), high(c)));
#else
  return fma(a, b, c);
#endif
}

// x / d for many x, to the same bits but without a division where there is fma: a product with the reciprocal
// in two parts is within one unit in the last place, and from there a step of Newton's is exact (Brisebarre,
// Muller and Raina, "Accelerating correctly rounded floating-point division when the divisor is known in
// advance", 2004). 2^-60 <= d <= 2^60 and |x / d| < 2^60, or NaN; the sign of a zero may be lost.
class Divider {
 public:
  explicit Divider(float d) : divisor_(d), minus_divisor_(-d), high_(1 / d), low_(0.0f) {
    low_ = fma(minus_divisor_, high_, VecF(1.0f)) * high_;
  }

  VecF quotient(VecF x) const {
#if defined(__x86_64__) && !defined(__FMA__)
    return nibble::NIBBLE_TIER::quotient(x, divisor_);
#else
    // Of what is smaller, the remainder that the step takes would not be exact.
    const VecF magnitude = xsimd::abs(x);
    if (xsimd::any((magnitude > VecF(0.0f)) & (magnitude < VecF(0x1p-100f))))
      return nibble::NIBBLE_TIER::quotient(x, divisor_);
    return quotient_of_normal(x);
#endif
  }
  // The same, but below |x| = 2^-100 the last bit may differ.
  VecF quotient_of_normal(VecF x) const {
#if defined(__x86_64__) && !defined(__FMA__)
    return nibble::NIBBLE_TIER::quotient(x, divisor_);
#else
    const VecF near = fma(x, high_, x * low_);
    return fma(fma(near, minus_divisor_, x), high_, near);
#endif
  }

 private:
  VecF divisor_, minus_divisor_, high_, low_;
};

// A hint, harmless at any address.
inline void prefetch_line(const float* p) { __builtin_prefetch(p); }
inline void prefetch_into_l2(const float* p) { __builtin_prefetch(p, 0, 2); }

// v, loaded once: GCC 12 folds a load into each of the instructions that use it, and runs out of load ports.
inline VecF in_register(VecF v) {
#if defined(__AVX512F__)
  __m512 r = v;
  asm("" : "+v"(r));
#elif defined(__AVX__)
  __m256 r = v;
  asm("" : "+x"(r));
#elif defined(__x86_64__)
  __m128 r = v;
  asm("" : "+x"(r));
#else
  float32x4_t r = v;
  asm("" : "+w"(r));
#endif
  return r;
}

// f(0), f(1), ... with constants: arrays indexed by them live in registers.
template <class F, std::size_t... I>
[[gnu::always_inline]] inline void unroll(std::index_sequence<I...>, F f) {
  (f(std::integral_constant<std::size_t, I>{}), ...);
}

// Joins the lanes by halving, in the same order for every call.
template <class Op>
float reduce(VecF v, Op op) {
  alignas(64) float lane[kLanes];
  v.store_aligned(lane);
  for (std::size_t half = kLanes / 2; half > 0; half /= 2)
    for (std::size_t i = 0; i < half; ++i) lane[i] = op(lane[i], lane[i + half]);
  return lane[0];
}

// The same order as reduce(), without its way through memory. (xsimd renamed its own, hadd, in 9.0.)
inline float reduce_add(VecF v) {
#if defined(__x86_64__)
#if defined(__AVX512F__)
  const __m256 eight = _mm256_add_ps(_mm512_castps512_ps256(v), _mm512_extractf32x8_ps(v, 1));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
#elif defined(__AVX__)
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
#else
  __m128 four = v;
#endif
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
#else
  const float32x4_t four = v;
  const float32x2_t two = vadd_f32(vget_low_f32(four), vget_high_f32(four));
  return vget_lane_f32(two, 0) + vget_lane_f32(two, 1);
#endif
}

// Four lanes, whatever the tier: the unit of transposition.
#if defined(__x86_64__)
using Vec4 = xsimd::batch<float, xsimd::sse2>;
#else
using Vec4 = VecF;
#endif

}  // namespace
}  // namespace nibble::NIBBLE_TIER
