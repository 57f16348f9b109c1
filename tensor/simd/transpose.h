#pragma once

// Transposition of float matrices, for kernel sources.

#include "tensor/simd/vec.h"

namespace nibble::NIBBLE_TIER {
namespace {

// Element j of x[i] and element i of x[j] change places.
[[gnu::always_inline]] inline void turn(Vec4 (&x)[4]) {
  const Vec4 lo02 = zip_lo(x[0], x[2]), hi02 = zip_hi(x[0], x[2]), lo13 = zip_lo(x[1], x[3]),
             hi13 = zip_hi(x[1], x[3]);
  x[0] = zip_lo(lo02, lo13), x[1] = zip_hi(lo02, lo13);
  x[2] = zip_lo(hi02, hi13), x[3] = zip_hi(hi02, hi13);
}

#if defined(__AVX__) && !defined(__AVX512F__)
[[gnu::always_inline]] inline void turn(VecF (&x)[8]) {
  // Both halves of the vectors as a 4 x 4 matrix, then the halves.
  const auto quad = [&](std::size_t first) {
    const __m256 lo01 = _mm256_unpacklo_ps(x[first], x[first + 1]),
                 hi01 = _mm256_unpackhi_ps(x[first], x[first + 1]),
                 lo23 = _mm256_unpacklo_ps(x[first + 2], x[first + 3]),
                 hi23 = _mm256_unpackhi_ps(x[first + 2], x[first + 3]);
    x[first] = _mm256_shuffle_ps(lo01, lo23, 0x44), x[first + 1] = _mm256_shuffle_ps(lo01, lo23, 0xee);
    x[first + 2] = _mm256_shuffle_ps(hi01, hi23, 0x44), x[first + 3] = _mm256_shuffle_ps(hi01, hi23, 0xee);
  };
  quad(0), quad(4);
  unroll(std::make_index_sequence<4>{}, [&](auto i) {
    const __m256 low = x[i], high = x[i + 4];
    x[i] = _mm256_insertf128_ps(low, _mm256_castps256_ps128(high), 1);
    x[i + 4] = _mm256_permute2f128_ps(low, high, 0x31);
  });
}
#endif

// to[j * to_step + i] = from[i * from_step + j] for i and j below 4.
inline void transpose_4x4(const float* from, std::size_t from_step, float* to, std::size_t to_step) {
  Vec4 x[4] = {Vec4::load_unaligned(from), Vec4::load_unaligned(from + from_step),
               Vec4::load_unaligned(from + 2 * from_step), Vec4::load_unaligned(from + 3 * from_step)};
  turn(x);
  unroll(std::make_index_sequence<4>{}, [&](auto i) { x[i].store_unaligned(to + i * to_step); });
}

// to[j * to_step + i] = from[i * from_step + j] for i below kLanes and j below 4.
inline void transpose_lanes_x4(const float* from, std::size_t from_step, float* to, std::size_t to_step) {
#if defined(__AVX512F__)
  // Every 128-bit lane holds one of four rows four apart: then all four blocks turn at once.
  const auto rows = [&](std::size_t i) {
    const float* p = from + i * from_step;
    __m512 v = _mm512_castps128_ps512(_mm_loadu_ps(p));
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 4 * from_step), 1);
    v = _mm512_insertf32x4(v, _mm_loadu_ps(p + 8 * from_step), 2);
    return _mm512_insertf32x4(v, _mm_loadu_ps(p + 12 * from_step), 3);
  };
  const __m512 r0 = rows(0), r1 = rows(1), r2 = rows(2), r3 = rows(3);
  const __m512 lo01 = _mm512_unpacklo_ps(r0, r1), hi01 = _mm512_unpackhi_ps(r0, r1),
               lo23 = _mm512_unpacklo_ps(r2, r3), hi23 = _mm512_unpackhi_ps(r2, r3);
  _mm512_storeu_ps(to, _mm512_shuffle_ps(lo01, lo23, 0x44));
  _mm512_storeu_ps(to + to_step, _mm512_shuffle_ps(lo01, lo23, 0xee));
  _mm512_storeu_ps(to + 2 * to_step, _mm512_shuffle_ps(hi01, hi23, 0x44));
  _mm512_storeu_ps(to + 3 * to_step, _mm512_shuffle_ps(hi01, hi23, 0xee));
#elif defined(__AVX__)
  const auto rows = [&](std::size_t i) {
    const float* p = from + i * from_step;
    return _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(p)), _mm_loadu_ps(p + 4 * from_step), 1);
  };
  const __m256 r0 = rows(0), r1 = rows(1), r2 = rows(2), r3 = rows(3);
  const __m256 lo01 = _mm256_unpacklo_ps(r0, r1), hi01 = _mm256_unpackhi_ps(r0, r1),
               lo23 = _mm256_unpacklo_ps(r2, r3), hi23 = _mm256_unpackhi_ps(r2, r3);
  _mm256_storeu_ps(to, _mm256_shuffle_ps(lo01, lo23, 0x44));
  _mm256_storeu_ps(to + to_step, _mm256_shuffle_ps(lo01, lo23, 0xee));
  _mm256_storeu_ps(to + 2 * to_step, _mm256_shuffle_ps(hi01, hi23, 0x44));
  _mm256_storeu_ps(to + 3 * to_step, _mm256_shuffle_ps(hi01, hi23, 0xee));
#else
  transpose_4x4(from, from_step, to, to_step);
#endif
}

// out[p * out_step + i] = x[i * x_step + p] for i < n and p < k.
inline void transpose(const float* x, std::size_t x_step, std::size_t n, std::size_t k, float* out,
                      std::size_t out_step) noexcept {
  if (n < 4 || k < 4) {
    for (std::size_t p = 0; p < k; ++p)
      for (std::size_t i = 0; i < n; ++i) out[p * out_step + i] = x[i * x_step + p];
    return;
  }
  // What one cache line of a row has is used up before the next row's: lines of rows that are a power of two
  // apart push each other out.
  constexpr std::size_t kLine = 16;
  for (std::size_t line = 0; line < k; line += kLine) {
    const std::size_t end = k - line < kLine ? k : line + kLine;
    const auto for_quads = [&](auto turn) {
      std::size_t p = line;
      for (; p + 4 <= end; p += 4) turn(p);
      if (p < end) turn(end - 4);  // overlaps the one before
    };
    std::size_t i = 0;
    for (; i + kLanes <= n; i += kLanes)
      for_quads([&](std::size_t p) {
        transpose_lanes_x4(x + i * x_step + p, x_step, out + p * out_step + i, out_step);
      });
    for (; i < n; i += 4) {
      const std::size_t last = i + 4 <= n ? i : n - 4;
      for_quads([&](std::size_t p) {
        transpose_4x4(x + last * x_step + p, x_step, out + p * out_step + last, out_step);
      });
    }
  }
}

}  // namespace
}  // namespace nibble::NIBBLE_TIER
