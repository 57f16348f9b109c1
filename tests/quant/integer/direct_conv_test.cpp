#include "quant/kernels/direct_conv.h"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <vector>

#include "tests/support/catch.h"
#include "tests/support/guarded_buffer.h"

namespace nibble::quant {
namespace {

using test::GuardedBuffer;

constexpr std::size_t kChannels = 4;
constexpr std::int32_t kUntouched = 0x5a5a5a5a;

// Bytes that activations and weights may have.
struct Codes {
  int act_lo, act_hi;
  int weight_lo, weight_hi;
  bool only_ends;

  int largest_act() const { return std::max(std::abs(act_lo), std::abs(act_hi)); }
  int largest_weight() const { return std::max(std::abs(weight_lo), std::abs(weight_hi)); }
  // Words of products whose pairs cannot leave int16 when they are added.
  std::size_t pairs_depth() const {
    return static_cast<std::size_t>(32767 / (2 * largest_act() * largest_weight()));
  }
};

std::uint32_t word(std::mt19937& rng, int lo, int hi, bool only_ends) {
  std::uint32_t result = 0;
  for (int i = 0; i < 4; ++i) {
    const int byte = only_ends ? (rng() % 2 != 0 ? hi : lo)
                               : lo + static_cast<int>(rng() % static_cast<unsigned>(hi - lo + 1));
    result = result << 8 | static_cast<std::uint8_t>(byte);
  }
  return result;
}

std::int64_t dot4(std::uint32_t a, std::uint32_t w, bool is_signed) {
  std::int64_t sum = 0;
  for (int i = 0; i < 32; i += 8) {
    const auto act = static_cast<std::uint8_t>(a >> i);
    sum += (is_signed ? static_cast<std::int8_t>(act) : act) * static_cast<std::int8_t>(w >> i);
  }
  return sum;
}

// One call on one tier, in buffers that end where the kernel may read and write no further.
void check(Isa isa, const Codes& codes, std::size_t terms, std::size_t positions, std::size_t pairs_depth,
           std::mt19937& rng) {
  const DirectConvKernels& kernels = direct_conv_kernels(isa);
  const std::size_t written = (positions + kernels.lanes - 1) / kernels.lanes * kernels.lanes;
  constexpr std::size_t kReach = 23;  // of offsets
  GuardedBuffer<std::uint32_t> input(kReach + positions + kernels.lanes - 1), weight(terms * kChannels);
  for (std::uint32_t& each : input) each = word(rng, codes.act_lo, codes.act_hi, codes.only_ends);
  for (std::uint32_t& each : weight) each = word(rng, codes.weight_lo, codes.weight_hi, codes.only_ends);
  GuardedBuffer<std::int32_t> offset(terms), init(kChannels);
  for (std::int32_t& each : offset) each = static_cast<std::int32_t>(rng() % (kReach + 1));
  offset[rng() % terms] = kReach;
  // As far as the worst sum permits.
  const std::int64_t room =
      INT32_MAX - 4 * static_cast<std::int64_t>(terms) * codes.largest_act() * codes.largest_weight();
  for (std::int32_t& each : init) {
    each = static_cast<std::int32_t>(rng() % 2 != 0 ? room : static_cast<std::int64_t>(rng()) % room);
    if (rng() % 2 != 0) each = -each;
  }
  const std::size_t stride = written + rng() % 3;
  GuardedBuffer<std::int32_t> acc((kChannels - 1) * stride + written);
  std::fill(acc.begin(), acc.end(), kUntouched);
  kernels.run({.input = input.data(),
               .offset = offset.data(),
               .weight = weight.data(),
               .terms = terms,
               .positions = positions,
               .init = init.data(),
               .acc = acc.data(),
               .acc_stride = stride,
               .pairs_depth = pairs_depth});
  INFO(name_of(isa) << ", " << terms << " terms, " << positions << " positions, pairs of " << pairs_depth);
  for (std::size_t i = 0; i < acc.size(); ++i) {
    const std::size_t k = i / stride, x = i % stride;
    INFO("channel " << k << ", position " << x);
    if (x >= written) REQUIRE(acc[i] == kUntouched);
    if (x >= positions) continue;
    std::int64_t expected = init[k];
    for (std::size_t t = 0; t < terms; ++t)
      expected += dot4(input[static_cast<std::size_t>(offset[t]) + x], weight[t * kChannels + k],
                       kernels.signed_activations);
    REQUIRE(acc[i] == expected);
  }
}

std::vector<std::size_t> positions_of(std::size_t lanes) {
  std::vector<std::size_t> positions(3 * lanes + 1);
  std::iota(positions.begin(), positions.end(), std::size_t{1});
  for (const std::size_t n : {4 * lanes - 1, 4 * lanes, 4 * lanes + 1, 7 * lanes, 8 * lanes + 2})
    positions.push_back(n);
  return positions;
}

TEST_CASE("direct convolution: exact for all bytes, on every tier", "[tiers]") {
  std::mt19937 rng(21);
  for (const Isa isa : supported_isas()) {
    const DirectConvKernels& kernels = direct_conv_kernels(isa);
    const int lo = kernels.signed_activations ? -128 : 0, hi = kernels.signed_activations ? 127 : 255;
    for (const std::size_t positions : positions_of(kernels.lanes))
      for (const std::size_t terms : {1, 2, 3, 9, 40})
        for (const bool only_ends : {false, true})
          check(isa, {lo, hi, -128, 127, only_ends}, terms, positions, 0, rng);
  }
}

TEST_CASE("direct convolution: pairs are exact up to the proved depth", "[tiers]") {
  std::mt19937 rng(22);
  struct Width {
    int act, weight;
  };
  for (const Isa isa : supported_isas()) {
    const DirectConvKernels& kernels = direct_conv_kernels(isa);
    for (const Width width : {Width{127, 64}, {255, 64}, {255, 7}, {255, 1}, {15, 127}, {15, 7}, {3, 1}}) {
      const bool is_signed = kernels.signed_activations;
      const int act = is_signed ? std::min(width.act, 127) : width.act;
      for (const bool only_ends : {false, true}) {
        const Codes codes{is_signed ? -act : 0, act, -width.weight, width.weight, only_ends};
        const std::size_t depth = codes.pairs_depth();
        REQUIRE(depth >= 1);
        std::vector<std::size_t> terms{1, 2, 3, depth, depth + 1};
        if (depth > 1) terms.push_back(depth - 1);
        if (depth < 200) terms.insert(terms.end(), {2 * depth, 2 * depth + 1, 3 * depth + 2});
        for (const std::size_t n : terms)
          for (const std::size_t positions :
               {std::size_t{1}, kernels.lanes, 2 * kernels.lanes + 1, 3 * kernels.lanes + 1})
            check(isa, codes, n, positions, depth, rng);
      }
    }
    // Every length once.
    const bool is_signed = kernels.signed_activations;
    const Codes codes{is_signed ? -15 : 0, 15, -7, 7, true};
    for (const std::size_t positions : positions_of(kernels.lanes))
      check(isa, codes, 2 * codes.pairs_depth() + 3, positions, codes.pairs_depth(), rng);
  }
}

TEST_CASE("direct convolution: pairs that all have one sign reach the ends of int16", "[tiers]") {
  std::mt19937 rng(23);
  for (const Isa isa : supported_isas()) {
    const int act = direct_conv_kernels(isa).signed_activations ? 127 : 255;
    for (const int weight : {64, -64, 1, -1}) {
      const Codes codes{act, act, weight, weight, true};
      const std::size_t depth = codes.pairs_depth();
      for (const std::size_t terms : {depth, depth + 1, 2 * depth, 5 * depth})
        check(isa, codes, terms, 3 * direct_conv_kernels(isa).lanes + 1, depth, rng);
    }
  }
}

TEST_CASE("direct convolution: without terms there is the start value", "[tiers]") {
  for (const Isa isa : supported_isas())
    for (const std::size_t depth : {0, 3}) {
      const DirectConvKernels& kernels = direct_conv_kernels(isa);
      const std::int32_t init[] = {1, -2, INT32_MAX, -INT32_MAX};
      std::vector<std::int32_t> acc(kChannels * kernels.lanes, kUntouched);
      kernels.run({.input = nullptr,
                   .offset = nullptr,
                   .weight = nullptr,
                   .terms = 0,
                   .positions = kernels.lanes,
                   .init = init,
                   .acc = acc.data(),
                   .acc_stride = kernels.lanes,
                   .pairs_depth = depth});
      for (std::size_t i = 0; i < acc.size(); ++i) REQUIRE(acc[i] == init[i / kernels.lanes]);
    }
}

}  // namespace
}  // namespace nibble::quant
