#include "quant/kernels/quantize.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <random>

#include "quant/kernels/bits.h"
#include "quant/kernels/fake_quant.h"
#include "quant/kernels/max_codes.h"
#include "quant/kernels/requantize.h"
#include "tests/quant/tier_sizes.h"
#include "tests/support/catch.h"
#include "tests/support/guarded_buffer.h"

using namespace nibble;
using namespace nibble::quant;
using nibble::test::GuardedBuffer;

namespace {

constexpr QuantizeParams kParams[] = {{0.37f, 0, -8, 7},  {0.37f, 0, 0, 15},     {0.02f, 0, -128, 127},
                                      {0.02f, 0, 0, 255}, {0.013f, 129, 0, 255}, {0.013f, -5, -127, 127},
                                      {1.5f, 0, 0, 1},    {0.25f, 0, -2, 1},     {1e-30f, 3, 0, 255},
                                      {3e38f, 0, -8, 7},  {0.1f, 7.25f, 0, 255}, {0.5f, 0, 3, 3}};

// Near the range and beyond it, exact halves, and what is no number of it.
float sample(const QuantizeParams& p, std::mt19937& rng) {
  std::uniform_real_distribution<float> code(p.lo - 3, p.hi + 3);
  const float special[] = {0.0f,
                           -0.0f,
                           std::numeric_limits<float>::infinity(),
                           -std::numeric_limits<float>::infinity(),
                           std::numeric_limits<float>::quiet_NaN(),
                           -std::numeric_limits<float>::quiet_NaN(),
                           std::numeric_limits<float>::max(),
                           -std::numeric_limits<float>::max(),
                           std::numeric_limits<float>::denorm_min(),
                           1e30f,
                           -1e30f};
  switch (rng() % 4) {
    case 0:
      return special[rng() % std::size(special)];
    case 1:
      return (std::floor(code(rng)) + 0.5f - p.zero_point) * p.scale;
    default:
      return (code(rng) - p.zero_point) * p.scale;
  }
}

int expected_code(float x, const QuantizeParams& p) {
  const float code = std::nearbyint(x / p.scale + p.zero_point);
  if (std::isnan(code) || code < p.lo) return static_cast<int>(p.lo);
  return static_cast<int>(code > p.hi ? p.hi : code);
}

bool same_bits(float a, float b) {
  return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
}

}  // namespace

TEST_CASE("every integer tier has kernels of its own", "[tiers]") {
  for (Isa a : supported_isas())
    for (Isa b : supported_isas()) {
      CHECK((quantize_kernels(a).quantize == quantize_kernels(b).quantize) == (a == b));
      CHECK((requantize_kernels(a).to_codes == requantize_kernels(b).to_codes) == (a == b));
      CHECK((bits_kernels(a).pack == bits_kernels(b).pack) == (a == b));
      CHECK((max_kernels(a).max_u8 == max_kernels(b).max_u8) == (a == b));
    }
}

TEST_CASE("quantize gives the code of the formula on every tier", "[tiers]") {
  std::mt19937 rng(2);
  for (Isa isa : supported_isas())
    for (const QuantizeParams& p : kParams)
      for (std::size_t n : test::awkward_lengths())
        for (std::size_t offset : test::kOffsets) {
          INFO(name_of(isa) << ", " << n << " elements, offset " << offset << ", scale " << p.scale
                            << ", zero point " << p.zero_point << ", " << p.lo << " to " << p.hi);
          GuardedBuffer<float> x(n + offset);
          GuardedBuffer<std::uint8_t> codes(n + offset);
          for (float& each : x) each = sample(p, rng);
          std::fill(codes.begin(), codes.end(), std::uint8_t{0xa5});
          quantize_kernels(isa).quantize(x.data() + offset, codes.data() + offset, n, p);
          for (std::size_t i = 0; i < offset; ++i) REQUIRE(codes[i] == 0xa5);
          for (std::size_t i = offset; i < n + offset; ++i) {
            INFO("x " << x[i]);
            REQUIRE(codes[i] == static_cast<std::uint8_t>(expected_code(x[i], p)));
          }
        }
}

TEST_CASE("dequantize(quantize(x)) is what fake quantization trains with, bit by bit", "[tiers]") {
  std::mt19937 rng(3);
  for (Isa isa : supported_isas())
    for (const QuantizeParams& p : kParams) {
      constexpr std::size_t kCount = 1003;
      std::vector<float> x(kCount), trained(kCount), run(kCount);
      std::vector<std::uint8_t> codes(kCount);
      for (float& each : x) do
          each = sample(p, rng);
        while (std::isnan(each));  // stays NaN in training
      fake_quant_kernels(isa).forward(x.data(), trained.data(), kCount,
                                      {.scale = p.scale,
                                       .zero_point = p.zero_point,
                                       .lo = p.lo,
                                       .hi = p.hi,
                                       .clamp_passes = false,
                                       .relu = false});
      quantize_kernels(isa).quantize(x.data(), codes.data(), kCount, p);
      quantize_kernels(isa).dequantize(codes.data(), run.data(), kCount, p.scale, p.zero_point, p.lo < 0);
      INFO(name_of(isa) << ", scale " << p.scale << ", " << p.lo << " to " << p.hi);
      // A code has no -0; its value is equal all the same.
      CHECK(std::equal(run.begin(), run.end(), trained.begin()));
    }
}

TEST_CASE("dequantize reads every byte as int8 or uint8 on every tier", "[tiers]") {
  for (Isa isa : supported_isas())
    for (bool is_signed : {false, true})
      for (float zero_point : {0.0f, 3.0f, -7.5f})
        for (std::size_t n : test::awkward_lengths())
          for (std::size_t offset : test::kOffsets) {
            GuardedBuffer<std::uint8_t> codes(n + offset);
            GuardedBuffer<float> x(n + offset);
            for (std::size_t i = 0; i < n + offset; ++i)
              codes[i] = static_cast<std::uint8_t>(i * 167 + n), x[i] = 77;
            quantize_kernels(isa).dequantize(codes.data() + offset, x.data() + offset, n, 0.37f, zero_point,
                                             is_signed);
            INFO(name_of(isa) << ", " << n << " codes, offset " << offset << ", signed " << is_signed);
            for (std::size_t i = 0; i < offset; ++i) REQUIRE(x[i] == 77);
            for (std::size_t i = offset; i < n + offset; ++i) {
              const int code = is_signed ? static_cast<std::int8_t>(codes[i]) : codes[i];
              REQUIRE(same_bits(x[i], (static_cast<float>(code) - zero_point) * 0.37f));
            }
          }
}
