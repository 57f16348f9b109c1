#include "quant/kernels/requantize_words.h"

#include <utility>

#include "quant/kernels/requantize_formula.h"
#include "quant/kernels/vec_int.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

constexpr std::size_t kChannels = 4;

#if defined(NIBBLE_TIER_scalar)

inline std::int32_t larger(std::int32_t a, std::int32_t b) { return a > b ? a : b; }
inline std::int32_t joined(std::int32_t low, std::int32_t byte, int shift) {
  return low | static_cast<std::int32_t>((static_cast<std::uint32_t>(byte) & 0xff) << shift);
}
// The largest of neighbours: lane i of 2 i and 2 i + 1.
inline std::int32_t pool_neighbours(const std::int32_t* p) { return larger(p[0], p[1]); }
inline std::int32_t pool_rows(const std::int32_t* p, std::size_t pitch) {
  return larger(pool_neighbours(p), pool_neighbours(p + pitch));
}

#else

inline VecI larger(VecI a, VecI b) { return max(a, b); }
inline VecI joined(VecI low, VecI byte, int shift) { return low | ((byte & VecI(0xff)) << shift); }

using Lanes [[gnu::vector_size(kRegisterBytes)]] = std::int32_t;
inline Lanes lanes_of(VecI v) {
  Lanes lanes;
  std::memcpy(&lanes, &v, sizeof lanes);
  return lanes;
}

template <std::size_t... I>
inline VecI pool_neighbours(VecI low, VecI high, std::index_sequence<I...>) {
  const Lanes a = lanes_of(low), b = lanes_of(high);
  const Lanes even = __builtin_shufflevector(a, b, static_cast<int>(2 * I)...);
  const Lanes odd = __builtin_shufflevector(a, b, static_cast<int>(2 * I + 1)...);
  VecI::register_type x, y;
  std::memcpy(&x, &even, sizeof x);
  std::memcpy(&y, &odd, sizeof y);
  return larger(VecI(x), VecI(y));
}
inline VecI pool_rows(const std::int32_t* p, std::size_t pitch) {
  const VecI low = larger(load(p), load(p + pitch));
  const VecI high = larger(load(p + kLanes), load(p + pitch + kLanes));
  return pool_neighbours(low, high, std::make_index_sequence<kLanes>());
}

#endif

struct Channel {
  VecI multiplier;
  RoundingShift<WordU> shift;

  Channel() = default;
  Channel(std::int32_t m, std::int32_t s) : multiplier(m), shift(WordU{} + static_cast<std::uint64_t>(s)) {}
};

struct Range {
  WordS zero_point, lo, hi;
};

inline VecI codes_of(VecI sums, const Channel& channel, const Range& range) {
  Words words = products(sums, channel.multiplier);
  for (WordU& word : words.word)
    word = std::bit_cast<WordU>(requantize<WordS>(word, channel.shift, range.zero_point, range.lo, range.hi));
  return narrow(words);
}

template <bool Pool>
void run_rows(const WordTile& t) {
  Channel channels[kChannels];
  for (std::size_t k = 0; k < kChannels; ++k) channels[k] = Channel(t.multiplier[k], t.shift[k]);
  const Range range{WordS{} + std::int64_t{t.zero_point}, WordS{} + std::int64_t{t.lo},
                    WordS{} + std::int64_t{t.hi}};
  for (std::size_t y = 0; y < t.rows; ++y)
    for (std::size_t x = 0; x < t.columns; x += kLanes) {
      VecI word(0);
      for (std::size_t k = 0; k < kChannels; ++k) {
        const std::int32_t* const acc = t.acc + k * t.channel_stride;
        VecI sums;
        if constexpr (Pool)
          sums = pool_rows(acc + 2 * y * t.pitch + 2 * x, t.pitch);
        else
          sums = load(acc + y * t.pitch + x);
        word = joined(word, codes_of(sums, channels[k], range), static_cast<int>(8 * k));
      }
      auto* const out = reinterpret_cast<std::int32_t*>(t.out + y * t.out_pitch + x);
      if (t.columns - x >= kLanes)
        store(out, word);
      else
        store_partial(out, word, t.columns - x);
    }
}

void run(const WordTile& t) noexcept { t.pool ? run_rows<true>(t) : run_rows<false>(t); }

}  // namespace

extern const RequantizeWordsKernels requantize_words_kernels = {.run = run};

}  // namespace nibble::quant::NIBBLE_TIER
