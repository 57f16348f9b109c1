#include "quant/kernels/partition.h"

#include "tensor/simd/vec.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

using namespace nibble::NIBBLE_TIER;
using Index = std::ptrdiff_t;
using Word = std::uint64_t;

Index count(Word bits) { return __builtin_popcountll(bits); }
Index lowest(Word bits) { return __builtin_ctzll(bits); }
Index highest(Word bits) { return 63 - __builtin_clzll(bits); }

// Bits of 64 keys: whether key < pivot and key > pivot.
struct Outside {
  Word below, above;
};

#if defined(__AVX512F__)

Outside outside(const std::int32_t* key, std::int32_t pivot) {
  const __m512i p = _mm512_set1_epi32(pivot);
  Outside result{0, 0};
#pragma GCC unroll 8
  for (Index g = 0; g < 4; ++g) {
    const __m512i keys = _mm512_loadu_si512(key + 16 * g);
    result.below |= Word{_mm512_cmplt_epi32_mask(keys, p)} << 16 * g;
    result.above |= Word{_mm512_cmpgt_epi32_mask(keys, p)} << 16 * g;
  }
  return result;
}

// The keys of the set bits to `out`, which has room for a vector more; returns where they end.
std::int32_t* compress(const std::int32_t* key, Word bits, std::int32_t* out) {
#pragma GCC unroll 8
  for (Index g = 0; g < 4; ++g, bits >>= 16) {
    const auto mask = static_cast<__mmask16>(bits);
    // Not by the form that compresses to memory, which is microcode on Zen 4.
    _mm512_storeu_si512(out, _mm512_maskz_compress_epi32(mask, _mm512_loadu_si512(key + 16 * g)));
    out += count(bits & 0xffff);
  }
  return out;
}

// from[0] to the key of the highest set bit, from[1] to that of the next ...; returns what comes after those.
const std::int32_t* fill(std::int32_t* key, Word bits, const std::int32_t* from) {
  const __m512i lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
#pragma GCC unroll 8
  for (Index g = 3; g >= 0; --g) {
    const auto mask = static_cast<__mmask16>(bits >> 16 * g);
    const Index n = count(mask);
    const __m512i backwards = _mm512_sub_epi32(_mm512_set1_epi32(static_cast<int>(n) - 1), lanes);
    const __m512i reversed = _mm512_permutexvar_epi32(backwards, _mm512_loadu_si512(from));
    _mm512_storeu_si512(key + 16 * g,
                        _mm512_mask_expand_epi32(_mm512_loadu_si512(key + 16 * g), mask, reversed));
    from += n;
  }
  return from;
}

#elif defined(__AVX2__)

// For each byte of bits: the set ones from below, and for each lane the number of those above it.
struct Lanes {
  alignas(8) std::uint8_t set[256][8] = {}, above[256][8] = {};
};
constexpr Lanes make_lanes() {
  Lanes lanes;
  for (unsigned bits = 0; bits < 256; ++bits) {
    unsigned n = 0;
    for (unsigned lane = 0; lane < 8; ++lane)
      if (bits >> lane & 1) lanes.set[bits][n++] = static_cast<std::uint8_t>(lane);
    for (unsigned lane = 8, above = 0; lane-- > 0; above += bits >> lane & 1)
      lanes.above[bits][lane] = static_cast<std::uint8_t>(above % 8);
  }
  return lanes;
}
constexpr Lanes kLanesOf = make_lanes();

__m256i vector_at(const std::int32_t* p) { return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)); }
void store_at(std::int32_t* p, __m256i v) { _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), v); }
__m256i permuted(__m256i v, const std::uint8_t (&lanes)[8]) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(lanes));
  return _mm256_permutevar8x32_epi32(v, _mm256_cvtepu8_epi32(bytes));
}
Word signs(__m256i v) { return static_cast<unsigned>(_mm256_movemask_ps(_mm256_castsi256_ps(v))); }

Outside outside(const std::int32_t* key, std::int32_t pivot) {
  const __m256i p = _mm256_set1_epi32(pivot);
  Outside result{0, 0};
#pragma GCC unroll 8
  for (Index g = 0; g < 8; ++g) {
    const __m256i keys = vector_at(key + 8 * g);
    result.below |= signs(_mm256_cmpgt_epi32(p, keys)) << 8 * g;
    result.above |= signs(_mm256_cmpgt_epi32(keys, p)) << 8 * g;
  }
  return result;
}

std::int32_t* compress(const std::int32_t* key, Word bits, std::int32_t* out) {
#pragma GCC unroll 8
  for (Index g = 0; g < 8; ++g, bits >>= 8) {
    store_at(out, permuted(vector_at(key + 8 * g), kLanesOf.set[bits & 0xff]));
    out += count(bits & 0xff);
  }
  return out;
}

const std::int32_t* fill(std::int32_t* key, Word bits, const std::int32_t* from) {
  const __m256i bit_of_lane = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
#pragma GCC unroll 8
  for (Index g = 7; g >= 0; --g) {
    const Word mask = bits >> 8 * g & 0xff;
    const __m256i set = _mm256_cmpeq_epi32(
        _mm256_and_si256(_mm256_set1_epi32(static_cast<int>(mask)), bit_of_lane), bit_of_lane);
    const __m256i filled = permuted(vector_at(from), kLanesOf.above[mask]);
    store_at(key + 8 * g, _mm256_blendv_epi8(vector_at(key + 8 * g), filled, set));
    from += count(mask);
  }
  return from;
}

#else

Outside outside(const std::int32_t* key, std::int32_t pivot) {
  Outside result{0, 0};
  for (Index b = 0; b < 64; ++b) {
    result.below |= Word{key[b] < pivot} << b;
    result.above |= Word{key[b] > pivot} << b;
  }
  return result;
}

std::int32_t* compress(const std::int32_t* key, Word bits, std::int32_t* out) {
  for (; bits != 0; bits &= bits - 1) *out++ = key[lowest(bits)];
  return out;
}

const std::int32_t* fill(std::int32_t* key, Word bits, const std::int32_t* from) {
  for (; bits != 0; bits ^= Word{1} << highest(bits)) key[highest(bits)] = *from++;
  return from;
}

#endif

// Bits below and from b on, 0 <= b < 64.
Word bits_below(Index b) { return (Word{1} << b) - 1; }
Word bits_from(Index b) { return ~bits_below(b); }

// The positions below are bits of masks: key - 64 * (left / 64). A bit that is not found is kNone.
constexpr Index kNone = -1;

void clear_below(Word* mask, Index b) {
  for (Index w = 0; w < b / 64; ++w) mask[w] = 0;
  mask[b / 64] &= bits_from(b % 64);
}

void clear_from(Word* mask, Index words, Index b) {
  if (b / 64 < words) mask[b / 64] &= bits_below(b % 64);
  for (Index w = b / 64 + 1; w < words; ++w) mask[w] = 0;
}

Index first_from(const Word* mask, Index words, Index b) {
  for (Index w = b / 64; w < words; ++w) {
    const Word bits = mask[w] & (w == b / 64 ? bits_from(b % 64) : ~Word{0});
    if (bits != 0) return 64 * w + lowest(bits);
  }
  return kNone;
}

Index last_below(const Word* mask, Index b) {
  for (Index w = (b - 1) / 64; b > 0 && w >= 0; --w) {
    const Word bits = mask[w] & (w == b / 64 ? bits_below(b % 64) : ~Word{0});
    if (bits != 0) return 64 * w + highest(bits);
  }
  return kNone;
}

// The n-th set bit (1-based) from below and from above.
Index nth(Word bits, Index n) {
  while (--n > 0) bits &= bits - 1;
  return lowest(bits);
}
Index nth_from_above(Word bits, Index n) {
  while (--n > 0) bits ^= Word{1} << highest(bits);
  return highest(bits);
}

// The last two that change places; kNone if none do.
struct Meeting {
  Index i, j;
};

// They meet in the first word up to whose end there are as many bits of `left` as bits of `right` after it.
Meeting meeting_of(const Word* left, const Word* right, Index words) {
  Index after = 0, before = 0, w = 0;
  for (Index v = 0; v < words; ++v) after += count(right[v]);
  for (;; ++w) {
    after -= count(right[w]);
    if (before + count(left[w]) >= after) break;
    before += count(left[w]);
  }
  // The largest number of bits of `left` up to some bit of this word that as many of `right` from there on
  // face.
  Index pairs = 0;
  for (Index b = 0; b < 64; ++b) {
    const Index l = before + count(left[w] & (bits_below(b) | Word{1} << b)),
                r = after + count(right[w] & bits_from(b));
    const Index both = l < r ? l : r;
    pairs = pairs > both ? pairs : both;
  }
  if (pairs == 0) return {kNone, kNone};
  return {pairs > before ? 64 * w + nth(left[w], pairs - before) : last_below(left, 64 * w),
          pairs > after ? 64 * w + nth_from_above(right[w], pairs - after)
                        : first_from(right, words, 64 * (w + 1))};
}

void partition(std::int32_t* key, Partition& p, Index k, std::int32_t* buffer) noexcept {
  const Index base = p.left / 64 * 64, words = p.words(), left = p.left - base, right = p.right - base;
  std::int32_t* const keys = key + base;
  Word *const from_left = p.from_left, *const from_right = p.from_right;
  const std::int32_t pivot = keys[left];
  for (Index w = 0; w < words; ++w) {
    const Outside bits = outside(keys + 64 * w, pivot);
    from_left[w] = ~bits.below;
    from_right[w] = ~bits.above;
  }
  for (Word* const mask : {from_left, from_right}) {
    clear_below(mask, left + 2);
    clear_from(mask, words, right);
  }

  // After the last change the scans go on, at most to the keys that it put there; without one, to the ends.
  const Meeting last = meeting_of(from_left, from_right, words);
  const Index i = last.i == kNone ? left + 1 : last.i, j = last.j == kNone ? right : last.j;
  const Index next_i = first_from(from_left, words, i + 1), next_j = last_below(from_right, j);
  const Index limit_i = j > i ? j : i + 1, limit_j = i < j ? i : j - 1;
  const Index end_i = next_i != kNone && next_i < limit_i ? next_i : limit_i;
  const Index end_j = next_j > limit_j ? next_j : limit_j;
  clear_from(from_left, words, i + 1);
  clear_below(from_right, j);

  // Of the pairs that change places, one side is wanted.
  const bool wants_right = base + end_j < k;
  const Word *const source = wants_right ? from_left : from_right, *const target =
                                                                       wants_right ? from_right : from_left;
  const auto first_word = [&](const Word* mask) { return mask == from_left ? left / 64 : j / 64; };
  const auto end_word = [&](const Word* mask) { return (mask == from_left ? i : right) / 64 + 1; };
  std::int32_t* out = buffer;
  for (Index w = first_word(source); w < end_word(source); ++w) out = compress(keys + 64 * w, source[w], out);
  const std::int32_t* from = buffer;
  for (Index w = end_word(target); w-- > first_word(target);) from = fill(keys + 64 * w, target[w], from);

  keys[left] = keys[end_j];
  keys[end_j] = pivot;
  p.i = base + end_i;
  p.j = base + end_j;
}

Index source(const Partition& p, Index place) noexcept {
  const Index base = p.left / 64 * 64, words = p.words();
  if (place == p.left) return p.j;
  if (place == p.j) return p.left;
  const Index b = place - base, word = b / 64;
  const auto is_set = [&](const Word* mask) { return mask[word] >> b % 64 & 1; };
  if (is_set(p.from_right)) {
    Index n = count(p.from_right[word] & bits_from(b % 64));
    for (Index w = word + 1; w < words; ++w) n += count(p.from_right[w]);
    Index w = 0;
    for (; n > count(p.from_left[w]); ++w) n -= count(p.from_left[w]);
    return base + 64 * w + nth(p.from_left[w], n);
  }
  if (is_set(p.from_left)) {
    Index n = count(p.from_left[word] & (bits_below(b % 64) | Word{1} << b % 64));
    for (Index w = 0; w < word; ++w) n += count(p.from_left[w]);
    Index w = words - 1;
    for (; n > count(p.from_right[w]); --w) n -= count(p.from_right[w]);
    return base + 64 * w + nth_from_above(p.from_right[w], n);
  }
  return place;
}

}  // namespace

extern const PartitionKernels partition_kernels = {partition, source};

}  // namespace nibble::quant::NIBBLE_TIER
