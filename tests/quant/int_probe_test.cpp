#include "quant/kernels/int_probe.h"

#include <bit>

#include "tests/support/catch.h"

using namespace nibble;
using namespace nibble::quant;

namespace {

bool is_lane_count(double lanes) { return lanes == 1 || lanes == 4 || lanes == 8 || lanes == 16; }

}  // namespace

TEST_CASE("probes of bytes do the multiply-adds they say") {
  for (const Isa isa : supported_isas())
    for (const IntProbe* probe : {&byte_probe(isa), &code_probe(isa)}) {
      INFO(name_of(isa));
      constexpr std::size_t kRounds = 10;
      // Every multiply-add is 1 times 1; the result is one lane of all chains.
      const double of_a_lane = probe->run(kRounds);
      CHECK(is_lane_count(static_cast<double>(probe->operations_per_round * kRounds) / 2 / of_a_lane));
    }
}

TEST_CASE("the probe of single bits counts what it says") {
  for (const Isa isa : supported_isas()) {
    INFO(name_of(isa));
    const IntProbe& probe = bit_probe(isa);
    // Of 32 bits of a column so many meet; the last word may be counted once more.
    constexpr int kOnes = std::popcount(0x0f1e2d3cu & 0x12345678u);
    const double ones = probe.run(7) - probe.run(3);
    CHECK(ones > 0);
    CHECK(is_lane_count(4 * static_cast<double>(probe.operations_per_round) / 2 / 32 * kOnes / ones));
  }
}
