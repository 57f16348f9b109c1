#include "quant/kernels/map_bytes.h"

#include <utility>

#if !defined(NIBBLE_TIER_scalar)
#include "tensor/simd/vec.h"
#endif

// Instructions look up 16 or 64 entries at once. Where 16: for each of the 16 rows of the table, the bytes
// whose high half names it take what their low half finds there.

namespace nibble::quant::NIBBLE_TIER {
namespace {

#if !defined(NIBBLE_TIER_scalar)
using nibble::NIBBLE_TIER::unroll;
#endif

#if defined(NIBBLE_TIER_scalar)
#elif defined(__AVX512F__)

#define NIBBLE_HAS_LOOKUP
constexpr std::size_t kBytes = 64;

struct Table {
  __m512i row[16];

  explicit Table(const std::uint8_t* table) {
    for (int i = 0; i < 16; ++i)
      row[i] = _mm512_broadcast_i32x4(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * i)));
  }
  void map(const std::uint8_t* from, std::uint8_t* to) const {
    const __m512i bytes = _mm512_loadu_si512(from), half = _mm512_set1_epi8(15);
    const __m512i low = _mm512_and_si512(bytes, half),
                  high = _mm512_and_si512(_mm512_srli_epi16(bytes, 4), half);
    __m512i result = _mm512_shuffle_epi8(row[0], low);
    unroll(std::make_index_sequence<15>(), [&](auto i) {
      const __mmask64 named = _mm512_cmpeq_epi8_mask(high, _mm512_set1_epi8(i + 1));
      result = _mm512_mask_shuffle_epi8(result, named, row[i + 1], low);
    });
    _mm512_storeu_si512(to, result);
  }
};

#elif defined(__AVX2__)

#define NIBBLE_HAS_LOOKUP
constexpr std::size_t kBytes = 32;

struct Table {
  __m256i row[16];

  explicit Table(const std::uint8_t* table) {
    for (int i = 0; i < 16; ++i)
      row[i] = _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(table + 16 * i)));
  }
  void map(const std::uint8_t* from, std::uint8_t* to) const {
    const __m256i bytes = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)),
                  half = _mm256_set1_epi8(15);
    const __m256i low = _mm256_and_si256(bytes, half),
                  high = _mm256_and_si256(_mm256_srli_epi16(bytes, 4), half);
    __m256i result = _mm256_shuffle_epi8(row[0], low);
    unroll(std::make_index_sequence<15>(), [&](auto i) {
      const __m256i named = _mm256_cmpeq_epi8(high, _mm256_set1_epi8(i + 1));
      result = _mm256_blendv_epi8(result, _mm256_shuffle_epi8(row[i + 1], low), named);
    });
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), result);
  }
};

#elif defined(__aarch64__)

#define NIBBLE_HAS_LOOKUP
constexpr std::size_t kBytes = 16;

struct Table {
  uint8x16x4_t part[4];

  explicit Table(const std::uint8_t* table) {
    for (int i = 0; i < 4; ++i) part[i] = vld1q_u8_x4(table + 64 * i);
  }
  void map(const std::uint8_t* from, std::uint8_t* to) const {
    const uint8x16_t bytes = vld1q_u8(from);
    uint8x16_t result = vqtbl4q_u8(part[0], bytes);  // 0 for what lies beyond a part
    for (int i = 1; i < 4; ++i)
      result = vqtbx4q_u8(result, part[i], vsubq_u8(bytes, vdupq_n_u8(static_cast<std::uint8_t>(64 * i))));
    vst1q_u8(to, result);
  }
};

#endif

void run(const std::uint8_t* from, std::size_t n, const std::uint8_t* table, std::uint8_t* to) noexcept {
  std::size_t i = 0;
#if defined(NIBBLE_HAS_LOOKUP)
  if (n >= kBytes) {
    const Table lookup(table);
    for (; i + kBytes <= n; i += kBytes) lookup.map(from + i, to + i);
  }
#endif
  for (; i < n; ++i) to[i] = table[from[i]];
}

}  // namespace

extern const MapBytesKernels map_bytes_kernels = {.run = run};

}  // namespace nibble::quant::NIBBLE_TIER
