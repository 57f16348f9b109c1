#include "quant/kernels/map_bytes.h"

#include <random>
#include <vector>

#include "tensor/simd/isa.h"
#include "tests/support/catch.h"

namespace nibble::quant {
namespace {

TEST_CASE("bytes are mapped by their table, on every tier", "[tiers]") {
  std::mt19937 random(1);
  const auto byte = [&] { return static_cast<std::uint8_t>(random()); };
  for (const Isa isa : supported_isas())
    for (std::size_t n = 0; n < 400; n = n < 140 ? n + 1 : n + 37) {
      CAPTURE(name_of(isa), n);
      std::vector<std::uint8_t> table(256), from(n), expected(n + 1, 0xa5);
      for (std::uint8_t& entry : table) entry = byte();
      for (std::size_t i = 0; i < n; ++i)
        expected[i] = table[from[i] = i < 256 ? static_cast<std::uint8_t>(i) : byte()];
      std::vector<std::uint8_t> to(n + 1, 0xa5);
      map_bytes_kernels(isa).run(from.data(), n, table.data(), to.data());
      REQUIRE(to == expected);
    }
}

}  // namespace
}  // namespace nibble::quant
