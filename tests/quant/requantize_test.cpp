#include "quant/kernels/requantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "quant/kernels/requantize_formula.h"
#include "quant/multiplier.h"
#include "tests/quant/tier_sizes.h"
#include "tests/support/catch.h"
#include "tests/support/guarded_buffer.h"

using namespace nibble;
using namespace nibble::quant;
using nibble::test::GuardedBuffer;

namespace {

__extension__ using Int128 = __int128;

constexpr std::int32_t kMost = std::numeric_limits<std::int32_t>::max();

// The specification: quotient and remainder of integers of which none can overflow.
std::int64_t rounded_quotient(std::int64_t sum, std::int64_t multiplier, int shift) {
  const Int128 product = Int128{sum} * multiplier, unit = Int128{1} << shift;
  Int128 quotient = product / unit, remainder = product % unit;
  if (remainder < 0) {
    remainder += unit;
    --quotient;
  }
  if (2 * remainder > unit || (2 * remainder == unit && quotient % 2 != 0)) ++quotient;
  return static_cast<std::int64_t>(quotient);
}

int expected_code(std::int64_t sum, std::int32_t multiplier, int shift, std::int32_t zero_point, int lo,
                  int hi) {
  return static_cast<int>(
      std::clamp<std::int64_t>(rounded_quotient(sum, multiplier, shift) + zero_point, lo, hi));
}

struct Range {
  std::int32_t zero_point, lo, hi;
};
constexpr Range kRanges[] = {{0, 0, 255},   {0, -128, 127},       {7, 0, 15},           {-3, -8, 7},
                             {128, 0, 255}, {1 << 30, -128, 127}, {-(1 << 30), 0, 255}, {0, 5, 5}};

// A tile in buffers that end where they end, with gaps between rows.
struct Case {
  std::size_t rows, cols, gap;
  GuardedBuffer<std::int32_t> acc, add;
  bool has_add;

  Case(std::size_t rows, std::size_t cols, std::size_t gap, bool has_add, std::mt19937& rng)
      : rows(rows), cols(cols), gap(gap), acc(size(rows, cols, gap)), add(cols), has_add(has_add) {
    for (std::int32_t& each : acc) each = magnitude(rng);
    for (std::int32_t& each : add) each = magnitude(rng);
    if (!has_add) return;
    for (std::size_t i = 0; i < rows; ++i)
      for (std::size_t j = 0; j < cols; ++j) {
        std::int32_t& value = acc[i * (cols + gap) + j];
        const std::int64_t sum = std::int64_t{value} + add[j];
        if (std::abs(sum) > kMost) value = static_cast<std::int32_t>((sum > 0 ? kMost : -kMost) - add[j]);
      }
  }

  static std::size_t size(std::size_t rows, std::size_t cols, std::size_t gap) {
    return rows == 0 ? 0 : (rows - 1) * (cols + gap) + cols;
  }
  // All orders of magnitude, and the bounds.
  static std::int32_t magnitude(std::mt19937& rng) {
    if (rng() % 8 == 0) return rng() % 2 != 0 ? kMost : -kMost;
    const auto value = static_cast<std::int32_t>(rng() >> 1) >> rng() % 31;
    return rng() % 2 != 0 ? value : -value;
  }

  SumTile tile() const { return {acc.data(), cols + gap, rows, cols, has_add ? add.data() : nullptr}; }
  std::int64_t sum(std::size_t i, std::size_t j) const {
    return std::int64_t{acc[i * (cols + gap) + j]} + (has_add ? add[j] : 0);
  }
};

template <class F>
void for_each_case(std::mt19937& rng, F f) {
  std::vector<std::size_t> widths = test::awkward_lengths();
  widths.insert(widths.end(), {2, 6, 10, 12, 13, 24, 40});
  for (std::size_t cols : widths)
    for (std::size_t rows : {0, 1, 3, 6})
      for (std::size_t gap : {0, 1, 16}) {
        if (cols * rows > 5000) continue;
        f(Case(rows, cols, gap, rng() % 2 != 0, rng));
      }
}

}  // namespace

TEST_CASE("requantize: the formula rounds exactly and once") {
  std::mt19937_64 rng(5);
  const std::int32_t multipliers[] = {0, 1, 3, 1 << 30, (1 << 30) + 1, kMost - 1, kMost};
  for (int shift = 0; shift <= 62; ++shift) {
    for (std::int32_t multiplier : multipliers) {
      std::vector<std::int64_t> sums{0, 1, -1, kMost, -kMost, kMost - 1, 1 - std::int64_t{kMost}};
      for (int i = 0; i < 200; ++i)
        sums.push_back((static_cast<std::int64_t>(rng() % (2 * std::uint64_t{kMost} + 1)) - kMost) >> i % 31);
      for (std::int64_t sum : sums) {
        const std::int64_t exact = rounded_quotient(sum, multiplier, shift);
        const auto product = static_cast<std::uint64_t>(sum * multiplier);
        INFO(sum << " * " << multiplier << " / 2^" << shift);
        REQUIRE(static_cast<std::int64_t>(
                    RoundingShift<std::uint64_t>(static_cast<std::uint64_t>(shift))(product)) == exact);
        REQUIRE(quant::requantize(static_cast<std::int32_t>(sum), multiplier, shift, 0, -128, 127) ==
                std::clamp<std::int64_t>(exact, -128, 127));
      }
    }
  }
}

TEST_CASE("requantize: halves go to the even neighbour, on both sides of zero", "[tiers]") {
  for (Isa isa : supported_isas())
    for (int shift = 31; shift <= 60; ++shift) {
      // sum * 2^30 / 2^shift = k + 1/2, and one unit beside it on either side.
      std::vector<std::int32_t> acc, multiplier, shifts;
      std::vector<int> expected;
      const std::int32_t half = 1 << (shift - 31);
      for (std::int32_t k = -5; k <= 4; ++k)
        for (std::int32_t beside : {-1, 0, 1}) {
          const std::int64_t sum = (2 * std::int64_t{k} + 1) * half + beside;
          if (std::abs(sum) > kMost) continue;
          acc.push_back(static_cast<std::int32_t>(sum));
          multiplier.push_back(1 << 30);
          shifts.push_back(shift);
          const int even = k % 2 == 0 ? k : k + 1;
          // With shift 31 the neighbours of a half are whole numbers.
          if (shift == 31) {
            expected.push_back(beside == 0 ? even : (2 * k + 1 + beside) / 2);
          } else {
            expected.push_back(beside == 0 ? even : beside < 0 ? k : k + 1);
          }
        }
      std::vector<std::uint8_t> out(acc.size());
      requantize_kernels(isa).to_codes({acc.data(), acc.size(), 1, acc.size(), nullptr},
                                       {multiplier.data(), shifts.data(), 0, -128, 127}, out.data(),
                                       static_cast<std::ptrdiff_t>(out.size()));
      for (std::size_t i = 0; i < acc.size(); ++i) {
        INFO(name_of(isa) << ", " << acc[i] << " * 2^30 / 2^" << shift);
        REQUIRE(static_cast<std::int8_t>(out[i]) == expected[i]);
      }
    }
}

TEST_CASE("to_codes is exact on every tier", "[tiers]") {
  std::mt19937 rng(6);
  for_each_case(rng, [&](const Case& c) {
    GuardedBuffer<std::int32_t> multiplier(c.cols), shift(c.cols);
    const std::int32_t special[] = {0, 1, 1 << 30, kMost};
    const Range range = kRanges[rng() % std::size(kRanges)];
    for (std::size_t j = 0; j < c.cols; ++j) {
      multiplier[j] = rng() % 2 != 0 ? special[rng() % std::size(special)]
                                     : static_cast<std::int32_t>(rng() >> 2) + (1 << 30);
      // Any shift, or one that brings a sum of this column into the range.
      const auto bits = std::bit_width(static_cast<std::uint64_t>(std::abs(c.rows > 0 ? c.sum(0, j) : 0)));
      const auto fitting = static_cast<std::int32_t>(bits) + 25;
      shift[j] = static_cast<std::int32_t>(rng() % 2 != 0 ? rng() % 63 : fitting);
    }
    const std::size_t out_stride = c.cols + rng() % 5;
    for (Isa isa : supported_isas()) {
      GuardedBuffer<std::uint8_t> out(Case::size(c.rows, c.cols, out_stride - c.cols));
      std::fill(out.begin(), out.end(), std::uint8_t{0xa5});
      requantize_kernels(isa).to_codes(
          c.tile(), {multiplier.data(), shift.data(), range.zero_point, range.lo, range.hi}, out.data(),
          static_cast<std::ptrdiff_t>(out_stride));
      for (std::size_t at = 0; at < out.size(); ++at) {
        const std::size_t i = at / out_stride, j = at % out_stride;
        if (j >= c.cols) {
          REQUIRE(out[at] == 0xa5);
          continue;
        }
        INFO(name_of(isa) << ", " << c.rows << " x " << c.cols << ", " << c.sum(i, j) << " * "
                          << multiplier[j] << " / 2^" << shift[j] << " + " << range.zero_point);
        REQUIRE(out[at] == static_cast<std::uint8_t>(expected_code(c.sum(i, j), multiplier[j], shift[j],
                                                                   range.zero_point, range.lo, range.hi)));
      }
    }
  });
}

TEST_CASE("the other epilogues have the same bits on every tier", "[tiers]") {
  std::mt19937 rng(7);
  std::uniform_real_distribution<float> number(-2, 2);
  for_each_case(rng, [&](const Case& c) {
    GuardedBuffer<float> scale(c.cols), bias(c.cols);
    // Small, so that a bias counts and results near 0 occur; negative ones and -0 as well.
    for (float& each : scale) each = rng() % 8 == 0 ? -0.0f : number(rng) * 1e-4f;
    for (float& each : bias) each = rng() % 8 == 0 ? -0.0f : number(rng);
    const bool has_bias = rng() % 2 != 0, relu = rng() % 2 != 0;
    const std::size_t out_stride = c.cols + rng() % 5;
    for (Isa isa : supported_isas()) {
      GuardedBuffer<std::int32_t> sums(Case::size(c.rows, c.cols, out_stride - c.cols));
      GuardedBuffer<float> floats(sums.size());
      std::fill(sums.begin(), sums.end(), 77);
      std::fill(floats.begin(), floats.end(), 77.0f);
      requantize_kernels(isa).add(c.tile(), sums.data(), static_cast<std::ptrdiff_t>(out_stride));
      requantize_kernels(isa).to_float(c.tile(), {scale.data(), has_bias ? bias.data() : nullptr, relu},
                                       floats.data(), static_cast<std::ptrdiff_t>(out_stride));
      for (std::size_t at = 0; at < sums.size(); ++at) {
        const std::size_t i = at / out_stride, j = at % out_stride;
        if (j >= c.cols) {
          REQUIRE((sums[at] == 77 && floats[at] == 77));
          continue;
        }
        INFO(name_of(isa) << ", " << c.rows << " x " << c.cols << ", row " << i << ", column " << j
                          << ", relu " << relu << ", bias " << has_bias);
        REQUIRE(sums[at] == c.sum(i, j));
        float expected = static_cast<float>(c.sum(i, j)) * scale[j];
        if (has_bias) expected += bias[j];
        if (relu && !(expected > 0)) expected = 0;
        REQUIRE(std::bit_cast<std::uint32_t>(floats[at]) == std::bit_cast<std::uint32_t>(expected));
      }
    }
  });
}

TEST_CASE("sums may be written over their accumulators", "[tiers]") {
  std::mt19937 rng(8);
  for (Isa isa : supported_isas())
    for (std::size_t cols : {1, 15, 16, 17, 48, 50}) {
      const Case c(4, cols, 2, true, rng);
      std::vector<std::int32_t> acc(c.acc.data(), c.acc.data() + c.acc.size());
      SumTile tile = c.tile();
      tile.acc = acc.data();
      requantize_kernels(isa).add(tile, acc.data(), static_cast<std::ptrdiff_t>(tile.stride));
      for (std::size_t i = 0; i < c.rows; ++i)
        for (std::size_t j = 0; j < cols; ++j) REQUIRE(acc[i * tile.stride + j] == c.sum(i, j));
    }
}

TEST_CASE("make_multiplier: the nearest multiplier, powers of two exactly") {
  const auto value = [](Multiplier m) { return std::ldexp(m.multiplier, -m.shift); };
  for (int e = -32; e <= 30; ++e) {
    const Multiplier m = make_multiplier(std::ldexp(1.0, e));
    CHECK((m.multiplier == 1 << 30 && value(m) == std::ldexp(1.0, e)));
  }
  std::mt19937_64 rng(9);
  std::uniform_real_distribution<double> exponent(-31.9, 30.9);
  for (int i = 0; i < 1000; ++i) {
    const double scale = std::exp2(exponent(rng));
    const Multiplier m = make_multiplier(scale);
    INFO(scale);
    CHECK((m.multiplier >= 1 << 30 && m.shift >= 0 && m.shift <= 62));
    CHECK(std::abs(value(m) - scale) <= std::ldexp(0.5, -m.shift));
  }
  // Halfway between two multipliers, below 1 and just below a power of two.
  CHECK(make_multiplier(0.5 + 0x1p-32).multiplier == 1 << 30);
  CHECK(make_multiplier(0.5 + 3 * 0x1p-32).multiplier == (1 << 30) + 2);
  const Multiplier one = make_multiplier(1 - 0x1p-32);
  CHECK((one.multiplier == 1 << 30 && one.shift == 30));
  const Multiplier below = make_multiplier(1 - 0x1p-31);
  CHECK((below.multiplier == kMost && below.shift == 31));
}

TEST_CASE("make_multiplier: what has no multiplier is named") {
  CHECK_THROWS_WITH(make_multiplier(0), Catch::Contains("scale 0"));
  CHECK_THROWS_WITH(make_multiplier(-0.25), Catch::Contains("-0.25"));
  CHECK_THROWS_WITH(make_multiplier(std::numeric_limits<double>::quiet_NaN()), Catch::Contains("nan"));
  CHECK_THROWS_WITH(make_multiplier(std::numeric_limits<double>::infinity()), Catch::Contains("inf"));
  CHECK_THROWS_WITH(make_multiplier(1e-12), Catch::Contains("1e-12") && Catch::Contains("62"));
  CHECK_THROWS_WITH(make_multiplier(0x1p31), Catch::Contains("2.14748e+09") && Catch::Contains("-1"));
  CHECK_THROWS_AS(make_multiplier(std::numeric_limits<double>::denorm_min()), std::invalid_argument);
  // Rounds up to 2^31 and to 2^-32.
  CHECK_THROWS_AS(make_multiplier(0x1p31 - 0x1p-2), std::invalid_argument);
  CHECK(make_multiplier(0x1p-32 - 0x1p-66).shift == 62);
}
