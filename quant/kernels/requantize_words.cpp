#include "quant/kernels/requantize_words.h"

#include <utility>

#include "quant/kernels/requantize_formula.h"
#include "quant/kernels/vec_int.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

constexpr std::size_t kChannels = 4;

#if defined(NIBBLE_TIER_scalar)

template <class F, std::size_t... I>
void unroll(std::index_sequence<I...>, F f) {
  (f(std::integral_constant<std::size_t, I>{}), ...);
}
inline std::int32_t larger(std::int32_t a, std::int32_t b) { return a > b ? a : b; }
inline std::int32_t smaller(std::int32_t a, std::int32_t b) { return a < b ? a : b; }
template <int Shift>
std::int32_t joined(std::int32_t low, std::int32_t byte, std::integral_constant<int, Shift>) {
  return low | static_cast<std::int32_t>((static_cast<std::uint32_t>(byte) & 0xff) << Shift);
}
// The largest of neighbours: lane i of 2 i and 2 i + 1.
inline std::int32_t pool_neighbours(const std::int32_t* p) { return larger(p[0], p[1]); }
inline std::int32_t pool_rows(const std::int32_t* p, std::size_t pitch) {
  return larger(pool_neighbours(p), pool_neighbours(p + pitch));
}

#else

inline VecI larger(VecI a, VecI b) { return max(a, b); }
template <int Shift>
VecI joined(VecI low, VecI byte, std::integral_constant<int, Shift>) {
  return low | ((byte & VecI(0xff)) << Shift);
}

using Lanes [[gnu::vector_size(kRegisterBytes)]] = std::int32_t;
inline Lanes lanes_of(VecI v) {
  Lanes lanes;
  std::memcpy(&lanes, &v, sizeof lanes);
  return lanes;
}

inline VecI vector_of(Lanes lanes) {
  VecI::register_type v;
  std::memcpy(&v, &lanes, sizeof v);
  return VecI(v);
}

template <std::size_t... I>
inline VecI pool_neighbours(VecI low, VecI high, std::index_sequence<I...>) {
  const Lanes a = lanes_of(low), b = lanes_of(high);
  const Lanes even = __builtin_shufflevector(a, b, static_cast<int>(2 * I)...);
  const Lanes odd = __builtin_shufflevector(a, b, static_cast<int>(2 * I + 1)...);
  return larger(vector_of(even), vector_of(odd));
}
inline VecI pool_rows(const std::int32_t* p, std::size_t pitch) {
  const VecI low = larger(load(p), load(p + pitch));
  const VecI high = larger(load(p + kLanes), load(p + pitch + kLanes));
  return pool_neighbours(low, high, std::make_index_sequence<kLanes>());
}

#endif

// The two ways to requantize; both give round(sum * multiplier / 2^shift) + zero_point, half to even,
// clamped.

struct ByProducts {
  VecI multiplier[kChannels];
  RoundingShift<WordU> shift[kChannels];
  WordS zero_point, lo, hi;

  explicit ByProducts(const WordTile& t)
      : zero_point(WordS{} + std::int64_t{t.zero_point}),
        lo(WordS{} + std::int64_t{t.lo}),
        hi(WordS{} + std::int64_t{t.hi}) {
    for (std::size_t k = 0; k < kChannels; ++k) {
      multiplier[k] = VecI(t.multiplier[k]);
      shift[k] = RoundingShift<WordU>(WordU{} + static_cast<std::uint64_t>(t.shift[k]));
    }
  }
  VecI codes(VecI sums, std::size_t k) const {
    Words words = products(sums, multiplier[k]);
    for (WordU& word : words.word)
      word = std::bit_cast<WordU>(requantize<WordS>(word, shift[k], zero_point, lo, hi));
    return narrow(words);
  }
};

// Between 2^52 and 2^53 doubles are the whole numbers, and the low half of their bits is the number itself,
// in two's complement for 1.5 * 2^52 + x. The zero point is added to the rounded number: an odd one would
// turn halves around.
struct ByDoubles {
  static constexpr double kWhole = 0x1.8p52;

  double scale[kChannels];
  VecI zero_point, lo, hi;

  explicit ByDoubles(const WordTile& t) : zero_point(t.zero_point), lo(t.lo), hi(t.hi) {
    for (std::size_t k = 0; k < kChannels; ++k) scale[k] = t.scale[k];
  }

#if defined(NIBBLE_TIER_scalar)
  VecI codes(VecI sum, std::size_t k) const {
    const auto bits = std::bit_cast<std::uint64_t>(sum * scale[k] + kWhole);
    return smaller(larger(static_cast<std::int32_t>(static_cast<std::uint32_t>(bits)) + zero_point, lo), hi);
  }
#else
  static constexpr std::size_t kHalf = kLanes / 2;
  using Half [[gnu::vector_size(kHalf * sizeof(std::int32_t))]] = std::int32_t;
  using Doubles [[gnu::vector_size(kRegisterBytes)]] = double;

  static Doubles to_doubles(Half half) {
#if defined(__AVX512F__)
    // GCC 12 converts a register of eight in two halves.
    return std::bit_cast<Doubles>(_mm512_cvtepi32_pd(std::bit_cast<__m256i>(half)));
#else
    return __builtin_convertvector(half, Doubles);
#endif
  }

  template <std::size_t... I, std::size_t... H>
  VecI codes(VecI sums, std::size_t k, std::index_sequence<I...>, std::index_sequence<H...>) const {
    const Lanes lanes = lanes_of(sums);
    const Half first = __builtin_shufflevector(lanes, lanes, static_cast<int>(H)...);
    const Half second = __builtin_shufflevector(lanes, lanes, static_cast<int>(H + kHalf)...);
    const Doubles low = to_doubles(first) * scale[k] + kWhole, high = to_doubles(second) * scale[k] + kWhole;
    const Lanes numbers = __builtin_shufflevector(std::bit_cast<Lanes>(low), std::bit_cast<Lanes>(high),
                                                  static_cast<int>(2 * I)...);
    return min(max(vector_of(numbers) + zero_point, lo), hi);
  }
  VecI codes(VecI sums, std::size_t k) const {
    return codes(sums, k, std::make_index_sequence<kLanes>(), std::make_index_sequence<kHalf>());
  }
#endif
};

template <bool Pool, class Codes>
void run_rows(const WordTile& t) {
  const Codes epilogue(t);
  for (std::size_t y = 0; y < t.rows; ++y)
    for (std::size_t x = 0; x < t.columns; x += kLanes) {
      VecI word(0);
      unroll(std::make_index_sequence<kChannels>(), [&](auto k) {
        const std::int32_t* const acc = t.acc + k * t.channel_stride;
        VecI sums;
        if constexpr (Pool)
          sums = pool_rows(acc + 2 * y * t.pitch + 2 * x, t.pitch);
        else
          sums = load(acc + y * t.pitch + x);
        word = joined(word, epilogue.codes(sums, k), std::integral_constant<int, 8 * k>());
      });
      auto* const out = reinterpret_cast<std::int32_t*>(t.out + y * t.out_pitch + x);
      if (t.columns - x >= kLanes)
        store(out, word);
      else
        store_partial(out, word, t.columns - x);
    }
}

template <class Codes>
void run_as(const WordTile& t) {
  t.pool ? run_rows<true, Codes>(t) : run_rows<false, Codes>(t);
}
void run(const WordTile& t) noexcept { t.scale != nullptr ? run_as<ByDoubles>(t) : run_as<ByProducts>(t); }

}  // namespace

extern const RequantizeWordsKernels requantize_words_kernels = {.run = run};

}  // namespace nibble::quant::NIBBLE_TIER
