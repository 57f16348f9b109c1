#include "tensor/simd/isa.h"

#include <cstdlib>
#include <string>

#include "tensor/kernels/elementwise.h"
#include "tensor/simd/dispatch.h"
#include "tests/support/catch.h"

using namespace nibble;

TEST_CASE("the tier that NIBBLE_ISA names is the one whose kernels run") {
  const char* forced = std::getenv("NIBBLE_ISA");
  const std::string expected =
      forced != nullptr && *forced != '\0' ? forced : name_of(supported_isas().back());
  CHECK(name_of(active_isa()) == expected);
  CHECK(&elementwise_kernels() == &elementwise_kernels(parse_isa(expected)));
}

TEST_CASE("float kernels are those of the best tier they have, each tier its own", "[tiers]") {
#define NIBBLE_LIST_TIER(tier, a, b) Isa::tier,
  const Isa float_tiers[] = {NIBBLE_FOR_EACH_TIER(NIBBLE_LIST_TIER, , )};
#undef NIBBLE_LIST_TIER
  const auto best = [&](Isa isa) {
    Isa result = float_tiers[0];
    for (Isa tier : float_tiers)
      if (tier <= isa) result = tier;
    return result;
  };
  for (Isa a : supported_isas()) {
    CHECK(&elementwise_kernels(a) == &elementwise_kernels(best(a)));
    for (Isa b : supported_isas())
      CHECK((elementwise_kernels(a).add == elementwise_kernels(b).add) == (best(a) == best(b)));
  }
}

TEST_CASE("an unknown tier is refused with the list of valid ones") {
  CHECK_THROWS_WITH(parse_isa("sse9"),
                    Catch::Contains("\"sse9\"") && Catch::Contains(name_of(supported_isas().front())));
  CHECK_THROWS(parse_isa(""));
}
