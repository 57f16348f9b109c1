#include "quant/kernels/map_bytes.h"

#include <bit>
#include <utility>

#include "quant/kernels/vec_int.h"

// Instructions look up 16 or 64 entries at once. Where 16: for each of the 16 rows of the table, the bytes
// whose high half names it take what their low half finds there.

namespace nibble::quant::NIBBLE_TIER {
namespace {

#if defined(__SSSE3__)

#define NIBBLE_HAS_LOOKUP

// One row in every 128 bits, and index[i]-th byte of it for every i; indices below 16.
inline VecU8 broadcast_row(const std::uint8_t* row) {
  const auto bytes = load_as<__m128i>(row);
#if defined(__AVX512F__)
  return std::bit_cast<VecU8>(_mm512_broadcast_i32x4(bytes));
#elif defined(__AVX2__)
  return std::bit_cast<VecU8>(_mm256_broadcastsi128_si256(bytes));
#else
  return std::bit_cast<VecU8>(bytes);
#endif
}
inline VecU8 look_up(VecU8 row, VecU8 index) {
#if defined(__AVX512F__)
  return std::bit_cast<VecU8>(
      _mm512_shuffle_epi8(std::bit_cast<__m512i>(row), std::bit_cast<__m512i>(index)));
#elif defined(__AVX2__)
  return std::bit_cast<VecU8>(
      _mm256_shuffle_epi8(std::bit_cast<__m256i>(row), std::bit_cast<__m256i>(index)));
#else
  return std::bit_cast<VecU8>(_mm_shuffle_epi8(std::bit_cast<__m128i>(row), std::bit_cast<__m128i>(index)));
#endif
}

struct Table {
  VecU8 row[16];

  explicit Table(const std::uint8_t* table) {
    for (int i = 0; i < 16; ++i) row[i] = broadcast_row(table + 16 * i);
  }
  VecU8 operator[](VecU8 bytes) const {
    const VecU8 low = bytes & 15, high = bytes >> 4;
    VecU8 result = look_up(row[0], low);
    unroll(std::make_index_sequence<15>(),
           [&](auto i) { result = high == i + 1 ? look_up(row[i + 1], low) : result; });
    return result;
  }
};

#elif defined(__aarch64__) && !defined(NIBBLE_TIER_scalar)

#define NIBBLE_HAS_LOOKUP

struct Table {
  uint8x16x4_t part[4];

  explicit Table(const std::uint8_t* table) {
    for (int i = 0; i < 4; ++i) part[i] = vld1q_u8_x4(table + 64 * i);
  }
  VecU8 operator[](VecU8 bytes) const {
    const auto index = std::bit_cast<uint8x16_t>(bytes);
    uint8x16_t result = vqtbl4q_u8(part[0], index);  // 0 for what lies beyond a part
    for (int i = 1; i < 4; ++i)
      result = vqtbx4q_u8(result, part[i], vsubq_u8(index, vdupq_n_u8(static_cast<std::uint8_t>(64 * i))));
    return std::bit_cast<VecU8>(result);
  }
};

#endif

void run(const std::uint8_t* from, std::size_t n, const std::uint8_t* table, std::uint8_t* to) noexcept {
  std::size_t i = 0;
#if defined(NIBBLE_HAS_LOOKUP)
  if (n >= sizeof(VecU8)) {
    const Table lookup(table);
    for (; i + sizeof(VecU8) <= n; i += sizeof(VecU8)) store_as(to + i, lookup[load_as<VecU8>(from + i)]);
  }
#endif
  for (; i < n; ++i) to[i] = table[from[i]];
}

}  // namespace

extern const MapBytesKernels map_bytes_kernels = {.run = run};

}  // namespace nibble::quant::NIBBLE_TIER
