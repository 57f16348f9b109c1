#pragma once

// Transposition of float matrices, for kernel sources.

#include "tensor/simd/vec.h"

namespace nibble::NIBBLE_TIER {
namespace {

// zip_lo and zip_hi of every four lanes by themselves.
inline Vec4 zip_low(Vec4 a, Vec4 b) { return zip_lo(a, b); }
inline Vec4 zip_high(Vec4 a, Vec4 b) { return zip_hi(a, b); }
#if defined(__AVX512F__)
inline VecF zip_low(VecF a, VecF b) { return _mm512_unpacklo_ps(a, b); }
inline VecF zip_high(VecF a, VecF b) { return _mm512_unpackhi_ps(a, b); }
#elif defined(__AVX__)
inline VecF zip_low(VecF a, VecF b) { return _mm256_unpacklo_ps(a, b); }
inline VecF zip_high(VecF a, VecF b) { return _mm256_unpackhi_ps(a, b); }
#endif

// Four columns of rows, as vectors. Zipping takes two steps; the second is left to who asks for a column.
template <class V>
struct TurnedColumns {
  V lo02, hi02, lo13, hi13;

  [[gnu::always_inline]] TurnedColumns(V row0, V row1, V row2, V row3)
      : lo02(zip_low(row0, row2)),
        hi02(zip_high(row0, row2)),
        lo13(zip_low(row1, row3)),
        hi13(zip_high(row1, row3)) {}

  template <std::size_t J>
  [[gnu::always_inline]] V get() const {
    const V &a = J < 2 ? lo02 : hi02, &b = J < 2 ? lo13 : hi13;
    return J % 2 == 0 ? zip_low(a, b) : zip_high(a, b);
  }
};

// Element i of column j is from[i * from_step + j], for i below 4.
[[gnu::always_inline]] inline TurnedColumns<Vec4> turn_4_rows(const float* from, std::size_t from_step) {
  const auto row = [&](std::size_t i) { return Vec4::load_unaligned(from + i * from_step); };
  return {row(0), row(1), row(2), row(3)};
}

// The same for i below kLanes.
#if defined(__AVX__)
[[gnu::always_inline]] inline TurnedColumns<VecF> turn_rows(const float* from, std::size_t from_step) {
  // Every four lanes hold one of the rows four apart, and all of them turn at once.
  const auto rows = [&](std::size_t i) -> VecF {
    const float* const p = from + i * from_step;
#if defined(__AVX512F__)
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(p));
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 4 * from_step), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 8 * from_step), 2);
    return _mm512_insertf32x4(v, _mm_loadu_ps(p + 12 * from_step), 3);
#else
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * from_step), 1);
#endif
  };
  return {rows(0), rows(1), rows(2), rows(3)};
}
#else
[[gnu::always_inline]] inline TurnedColumns<Vec4> turn_rows(const float* from, std::size_t from_step) {
  return turn_4_rows(from, from_step);
}
#endif

template <class V>
[[gnu::always_inline]] inline void store_columns(const TurnedColumns<V>& x, float* to, std::size_t to_step) {
  unroll(std::make_index_sequence<4>{},
         [&](auto j) { x.template get<j>().store_unaligned(to + j * to_step); });
}

// out[p * out_step + i] = x[i * x_step + p] for i < n and p < k. Flattened: GCC 12 makes functions of the
// loops' bodies, which costs a call for every four columns.
[[gnu::flatten]] inline void transpose(const float* x, std::size_t x_step, std::size_t n, std::size_t k,
                                       float* out, std::size_t out_step) noexcept {
  if (n < 4 || k < 4) {
    for (std::size_t p = 0; p < k; ++p)
      for (std::size_t i = 0; i < n; ++i) out[p * out_step + i] = x[i * x_step + p];
    return;
  }
  // What one cache line of a row has is used up before the next row's: lines of rows that are a power of two
  // apart push each other out. Sixteen such rows do so in any case; longer runs at least let the
  // prefetcher follow.
  constexpr std::size_t kRun = kLanes == 16 ? 64 : 16;
  for (std::size_t begin = 0; begin < k; begin += kRun) {
    const std::size_t end = k - begin < kRun ? k : begin + kRun;
    const auto turn_run = [&](std::size_t row, auto turn) {
      const float* const from = x + row * x_step;
      float* const to = out + row;
      std::size_t p = begin;
      for (; p + 4 <= end; p += 4) store_columns(turn(from + p, x_step), to + p * out_step, out_step);
      if (p < end)  // overlaps the one before
        store_columns(turn(from + end - 4, x_step), to + (end - 4) * out_step, out_step);
    };
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes) turn_run(i, turn_rows);
    for (; i < n; i += 4) turn_run(i + 4 <= n ? i : n - 4, turn_4_rows);
  }
}

}  // namespace
}  // namespace nibble::NIBBLE_TIER
