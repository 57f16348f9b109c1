#include "quant/kernels/bits.h"

#include <bit>
#include <type_traits>

#include "quant/kernels/vec_int.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

constexpr std::size_t kPerVector = sizeof(VecU64) / sizeof(std::uint64_t);

// `low` in every field of `width` bits.
constexpr std::uint64_t every(int width, std::uint64_t low) {
  std::uint64_t word = 0;
  for (int at = 0; at < 64; at += width) word |= low << at;
  return word;
}
constexpr std::uint64_t ones(int bits) { return (std::uint64_t{1} << bits) - 1; }

// Eight codes in the bytes of a word move together in three steps: into pairs, fours, one run of 8 * Bits.
// Each step closes the gaps, twice as wide as those of the step before, of every second field.
template <int Bits, class Word>
Word squeeze(Word x) {
  constexpr int kGap = 8 - Bits;
  x &= every(8, ones(Bits));
  x = (x | x >> kGap) & every(16, ones(2 * Bits));
  x = (x | x >> 2 * kGap) & every(32, ones(4 * Bits));
  return (x | x >> 4 * kGap) & ones(8 * Bits);
}

// And back, from bits in the low ends of the parts of a word, 0 above: one part of 8 * Bits bits, or 2 or 4
// parts of 4 or 2 codes, which spare the first steps.
template <int Bits, int kParts, class Word>
Word spread(Word x) {
  constexpr int kGap = 8 - Bits;
  if constexpr (kParts < 2) x = (x | x << 4 * kGap) & every(32, ones(4 * Bits));
  if constexpr (kParts < 4) x = (x | x << 2 * kGap) & every(16, ones(2 * Bits));
  return (x | x << kGap) & every(8, ones(Bits));
}

// The first Bits bytes of every word, one after the other.
#if defined(NIBBLE_TIER_scalar)
template <int Bits>
void store_squeezed(std::uint8_t* out, VecU64 word) {
  std::memcpy(out, &word, Bits);
}
template <int Bits>
VecU64 load_unsqueezed(const std::uint8_t* packed) {
  VecU64 word = 0;
  std::memcpy(&word, packed, Bits);
  return spread<Bits, 1>(word);
}
#else
template <class T, std::size_t N>
struct VectorOf {
  using Type [[gnu::vector_size(N * sizeof(T))]] = T;
};
template <int Bits>
using Field =
    std::conditional_t<Bits == 1, std::uint8_t, std::conditional_t<Bits == 2, std::uint16_t, std::uint32_t> >;

template <int Bits>
void store_squeezed(std::uint8_t* out, VecU64 words) {
  store_as(out, __builtin_convertvector(words, typename VectorOf<Field<Bits>, kPerVector>::Type));
}

// Every byte becomes a part of a word, of 8, 4 or 2 bytes. One instruction, where GCC 12 takes convertvector
// apart into single numbers.
template <int Bits>
VecU64 load_unsqueezed(const std::uint8_t* packed) {
#if defined(__AVX512F__)
  if constexpr (Bits == 1)
    return spread<1, 1>(std::bit_cast<VecU64>(_mm512_cvtepu8_epi64(_mm_loadu_si64(packed))));
  if constexpr (Bits == 2)
    return spread<2, 2>(std::bit_cast<VecU64>(_mm512_cvtepu8_epi32(load_as<__m128i>(packed))));
  if constexpr (Bits == 4)
    return spread<4, 4>(std::bit_cast<VecU64>(_mm512_cvtepu8_epi16(load_as<__m256i>(packed))));
#elif defined(__AVX2__)
  if constexpr (Bits == 1)
    return spread<1, 1>(std::bit_cast<VecU64>(_mm256_cvtepu8_epi64(_mm_loadu_si32(packed))));
  if constexpr (Bits == 2)
    return spread<2, 2>(std::bit_cast<VecU64>(_mm256_cvtepu8_epi32(_mm_loadu_si64(packed))));
  if constexpr (Bits == 4)
    return spread<4, 4>(std::bit_cast<VecU64>(_mm256_cvtepu8_epi16(load_as<__m128i>(packed))));
#else
  using Bytes = typename VectorOf<std::uint8_t, kPerVector * Bits>::Type;
  using Part = std::conditional_t<Bits == 1, std::uint64_t,
                                  std::conditional_t<Bits == 2, std::uint32_t, std::uint16_t> >;
  using Parts = typename VectorOf<Part, kPerVector * Bits>::Type;
  return spread<Bits, Bits>(std::bit_cast<VecU64>(__builtin_convertvector(load_as<Bytes>(packed), Parts)));
#endif
}
#endif

template <int Bits>
void pack_as(const std::uint8_t* codes, std::size_t n, std::uint8_t* out) {
  std::size_t i = 0;
  for (; i + sizeof(VecU64) <= n; i += sizeof(VecU64), out += kPerVector * Bits)
    store_squeezed<Bits>(out, squeeze<Bits>(load_as<VecU64>(codes + i)));
  for (; i < n; i += 8, out += Bits) {
    const std::size_t left = n - i < 8 ? n - i : 8;
    std::uint64_t word = 0;
    std::memcpy(&word, codes + i, left);
    word = squeeze<Bits>(word);
    std::memcpy(out, &word, (left * Bits + 7) / 8);
  }
}

template <int Bits>
void unpack_as(const std::uint8_t* packed, std::size_t n, std::uint8_t* codes) {
  std::size_t i = 0;
  for (; i + sizeof(VecU64) <= n; i += sizeof(VecU64), packed += kPerVector * Bits)
    store_as(codes + i, load_unsqueezed<Bits>(packed));
  for (; i < n; i += 8, packed += Bits) {
    const std::size_t left = n - i < 8 ? n - i : 8;
    std::uint64_t word = 0;
    std::memcpy(&word, packed, (left * Bits + 7) / 8);
    word = spread<Bits, 1>(word);
    std::memcpy(codes + i, &word, left);
  }
}

void pack(const std::uint8_t* codes, std::size_t n, int bits, std::uint8_t* out) noexcept {
  switch (bits) {
    case 1:
      return pack_as<1>(codes, n, out);
    case 2:
      return pack_as<2>(codes, n, out);
    default:
      return pack_as<4>(codes, n, out);
  }
}

void unpack(const std::uint8_t* packed, std::size_t n, int bits, std::uint8_t* codes) noexcept {
  switch (bits) {
    case 1:
      return unpack_as<1>(packed, n, codes);
    case 2:
      return unpack_as<2>(packed, n, codes);
    default:
      return unpack_as<4>(packed, n, codes);
  }
}

}  // namespace

extern const BitsKernels bits_kernels = {.pack = pack, .unpack = unpack};

}  // namespace nibble::quant::NIBBLE_TIER
