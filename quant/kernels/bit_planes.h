#pragma once

// Single bits of bytes, for kernel sources.

#include <cstddef>
#include <cstdint>
#include <cstring>

#if defined(NIBBLE_TIER_scalar)
#elif defined(__x86_64__)
#include <immintrin.h>
#endif

namespace nibble::quant::NIBBLE_TIER {
namespace {

// 32 bytes; plane(i) is bit i of each, that of the first byte lowest.
class Bytes32 {
 public:
  // The first n of 32; the others are zeros. Reads no byte beyond them.
  Bytes32(const std::uint8_t* p, std::size_t n) {
    if (n >= 32) {
      load(p);
    } else {
      alignas(32) std::uint8_t bytes[32] = {};
      std::memcpy(bytes, p, n);
      load(bytes);
    }
  }

#if defined(NIBBLE_TIER_scalar) || !defined(__x86_64__)
  std::uint32_t plane(int i) const {
    std::uint32_t bits = 0;
    for (int part = 0; part < 4; ++part) {
      // The product brings bit 0 of byte j to bit 56 + j; no two terms meet.
      const std::uint64_t ones = bytes_[part] >> i & 0x0101010101010101u;
      bits |= static_cast<std::uint32_t>(ones * 0x0102040810204080u >> 56) << 8 * part;
    }
    return bits;
  }

 private:
  void load(const std::uint8_t* p) { std::memcpy(bytes_, p, 32); }

  std::uint64_t bytes_[4];
#elif defined(__AVX2__)
  std::uint32_t plane(int i) const {
    const __m256i signs = _mm256_sll_epi16(bytes_, _mm_cvtsi32_si128(7 - i));
    return static_cast<std::uint32_t>(_mm256_movemask_epi8(signs));
  }

 private:
  void load(const std::uint8_t* p) { bytes_ = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }

  __m256i bytes_;
#else
  std::uint32_t plane(int i) const {
    const auto signs = [&](__m128i half) {
      return static_cast<std::uint32_t>(_mm_movemask_epi8(_mm_sll_epi16(half, _mm_cvtsi32_si128(7 - i))));
    };
    return signs(low_) | signs(high_) << 16;
  }

 private:
  void load(const std::uint8_t* p) {
    low_ = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p));
    high_ = _mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 16));
  }

  __m128i low_, high_;
#endif
};

// Adds bit j of `bits`, times 2^i, to byte j < n.
inline void add_plane(std::uint32_t bits, int i, std::size_t n, std::int8_t* bytes) {
  for (std::size_t j = 0; j < n; ++j)
    bytes[j] = static_cast<std::int8_t>(bytes[j] + static_cast<std::int8_t>((bits >> j & 1u) << i));
}

}  // namespace
}  // namespace nibble::quant::NIBBLE_TIER
