#include "quant/kernels/requantize_words.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "quant/kernels/reference.h"
#include "tests/support/catch.h"
#include "tests/support/guarded_buffer.h"

namespace nibble::quant {
namespace {

using test::GuardedBuffer;

constexpr std::size_t kChannels = 4;
constexpr std::size_t kMostLanes = 16;  // of any tier
constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
constexpr std::uint32_t kUntouched = 0xa5a5a5a5;

struct Range {
  std::int32_t zero_point, lo, hi;
};
// Odd zero points tell rounding to an even code from rounding to an even multiple of the scale.
constexpr Range kRanges[] = {{0, 0, 255},   {0, -128, 127}, {1, 0, 15},      {-3, -8, 7}, {128, 0, 255},
                             {77, 77, 255}, {5, 5, 5},      {-1, -128, 127}, {1, 0, 1}};

enum class Sums { small_ties, exact_in_double, extreme };

// Sums, a requantization of each channel, and where they lie: everything but the result.
struct Case {
  std::size_t rows, columns, pitch, channel_stride, out_pitch;
  bool pool;
  Range range;
  std::array<std::int32_t, kChannels> multiplier, shift;
  std::array<double, kChannels> scale;
  GuardedBuffer<std::int32_t> acc;

  Case(Sums sums, std::size_t rows, std::size_t columns, std::size_t gap, bool pool, std::mt19937_64& rng)
      : rows(rows),
        columns(columns),
        pitch((pool ? 2 : 1) * columns + gap),
        channel_stride((pool ? 2 : 1) * rows * pitch + gap),
        out_pitch(columns + gap),
        pool(pool),
        range(kRanges[rng() % std::size(kRanges)]),
        // The kernel may read 32 sums beyond the last position, and no more.
        acc((kChannels - 1) * channel_stride + at(rows - 1, columns - 1, pool ? 3 : 0) + 1 + 32) {
    for (std::int32_t& sum : acc) sum = static_cast<std::int32_t>(rng());
    for (std::size_t k = 0; k < kChannels; ++k) {
      set_scale(sums, k, rng);
      for (std::size_t y = 0; y < rows; ++y)
        for (std::size_t x = 0; x < columns; ++x)
          for (std::size_t i = 0; i < (pool ? 4u : 1u); ++i)
            acc[k * channel_stride + at(y, x, i)] = sum_of(sums, k, rng);
    }
  }

  // Element i of a window of 2 x 2, row by row; of one, where nothing is pooled.
  std::size_t at(std::size_t y, std::size_t x, std::size_t i) const {
    return pool ? (2 * y + i / 2) * pitch + 2 * x + i % 2 : y * pitch + x;
  }

  void set_scale(Sums sums, std::size_t k, std::mt19937_64& rng) {
    if (sums == Sums::small_ties) {
      constexpr std::int32_t kOdd[] = {0, 1, 1, 1, 3, 5, 7};
      multiplier[k] = kOdd[rng() % std::size(kOdd)] << 28;
      shift[k] = 28 + static_cast<std::int32_t>(rng() % 8);
    } else if (sums == Sums::exact_in_double) {
      // A sum may have as many bits as the multiplier leaves.
      multiplier[k] = static_cast<std::int32_t>(rng() % (std::uint64_t{1} << 31)) >> rng() % 12;
      shift[k] = static_cast<std::int32_t>(rng() % 63);
    } else {
      constexpr std::int32_t kSpecial[] = {0, 1, 1 << 30, kMost};
      multiplier[k] = rng() % 2 != 0 ? kSpecial[rng() % 4] : static_cast<std::int32_t>(rng() >> 33);
      shift[k] = static_cast<std::int32_t>(rng() % 63);
    }
    scale[k] = std::ldexp(multiplier[k], -shift[k]);
  }

  std::int32_t sum_of(Sums sums, std::size_t k, std::mt19937_64& rng) const {
    const auto within = [&](std::int64_t bound) {
      return static_cast<std::int32_t>(
          static_cast<std::int64_t>(rng() % static_cast<std::uint64_t>(2 * bound + 1)) - bound);
    };
    if (sums == Sums::small_ties) return within(rng() % 4 == 0 ? 4000 : 40);
    std::int64_t bound = kMost;
    if (sums == Sums::exact_in_double) {
      if (multiplier[k] > 0) bound = std::min(bound, (std::int64_t{1} << 53) / multiplier[k] - 1);
      if (scale[k] > 1) bound = std::min(bound, static_cast<std::int64_t>((0x1p31 - 512) / scale[k]));
    }
    if (rng() % 6 == 0) return static_cast<std::int32_t>(rng() % 2 != 0 ? bound : -bound);
    return within(bound) >> rng() % 31;
  }

  std::uint32_t expected(std::size_t y, std::size_t x) const {
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < kChannels; ++k) {
      std::int64_t code = std::numeric_limits<std::int64_t>::min();
      for (std::size_t i = 0; i < (pool ? 4u : 1u); ++i)
        code = std::max(code, reference::requantize(acc[k * channel_stride + at(y, x, i)], multiplier[k],
                                                    shift[k], range.zero_point, range.lo, range.hi));
      word |= std::uint32_t{static_cast<std::uint8_t>(code)} << (8 * k);
    }
    return word;
  }

  void check(Isa isa, bool by_doubles) const {
    GuardedBuffer<std::uint32_t> out((rows - 1) * out_pitch + columns);
    std::fill(out.begin(), out.end(), kUntouched);
    requantize_words_kernels(isa).run({.acc = acc.data(),
                                       .channel_stride = channel_stride,
                                       .pitch = pitch,
                                       .rows = rows,
                                       .columns = columns,
                                       .pool = pool,
                                       .multiplier = multiplier.data(),
                                       .shift = shift.data(),
                                       .scale = by_doubles ? scale.data() : nullptr,
                                       .zero_point = range.zero_point,
                                       .lo = range.lo,
                                       .hi = range.hi,
                                       .out = out.data(),
                                       .out_pitch = out_pitch});
    INFO(name_of(isa) << (by_doubles ? ", by doubles, " : ", by products, ") << (pool ? "pooled, " : "")
                      << rows << " x " << columns << " of pitch " << pitch);
    for (std::size_t i = 0; i < out.size(); ++i) {
      const std::size_t y = i / out_pitch, x = i % out_pitch;
      INFO("row " << y << ", column " << x);
      REQUIRE(out[i] == (x < columns ? expected(y, x) : kUntouched));
    }
  }
};

void check_all(Sums sums, std::initializer_list<bool> ways) {
  std::mt19937_64 rng(11);
  for (int repeat = 0; repeat < NIBBLE_TEST_REPEAT; ++repeat)
    for (std::size_t columns = 1; columns <= 2 * kMostLanes + 1; ++columns)
      for (const std::size_t rows : {1, 2, 5})
        for (const std::size_t gap : {0, 1, 7})
          for (const bool pool : {false, true}) {
            const Case c(sums, rows, columns, gap, pool, rng);
            for (const Isa isa : supported_isas())
              for (const bool by_doubles : ways) c.check(isa, by_doubles);
          }
}

TEST_CASE("words of codes: halves go to the even neighbour, whatever the zero point", "[tiers]") {
  check_all(Sums::small_ties, {false, true});
}

TEST_CASE("words of codes: doubles give the bits of products wherever they are allowed", "[tiers]") {
  check_all(Sums::exact_in_double, {false, true});
}

TEST_CASE("words of codes: every sum of 32 bits, every multiplier and shift", "[tiers]") {
  check_all(Sums::extreme, {false});
}

TEST_CASE("words of codes: no rows, nothing written", "[tiers]") {
  for (const Isa isa : supported_isas())
    for (const bool pool : {false, true}) {
      std::vector<std::int32_t> acc(4 + 64), multiplier(4, 1 << 30), shift(4, 31);
      std::uint32_t out = kUntouched;
      requantize_words_kernels(isa).run({.acc = acc.data(),
                                         .channel_stride = 1,
                                         .pitch = 1,
                                         .rows = 0,
                                         .columns = 1,
                                         .pool = pool,
                                         .multiplier = multiplier.data(),
                                         .shift = shift.data(),
                                         .scale = nullptr,
                                         .zero_point = 0,
                                         .lo = 0,
                                         .hi = 255,
                                         .out = &out,
                                         .out_pitch = 1});
      REQUIRE(out == kUntouched);
    }
}

}  // namespace
}  // namespace nibble::quant
