#include "quant/kernels/bits.h"

#include <algorithm>
#include <random>
#include <vector>

#include "tests/quant/tier_sizes.h"
#include "tests/support/catch.h"
#include "tests/support/guarded_buffer.h"

using namespace nibble;
using namespace nibble::quant;
using nibble::test::GuardedBuffer;

namespace {

std::vector<std::uint8_t> packed_bit_by_bit(const std::uint8_t* codes, std::size_t n, int bits) {
  const auto width = static_cast<std::size_t>(bits);
  std::vector<std::uint8_t> out((n * width + 7) / 8);
  for (std::size_t i = 0; i < n; ++i)
    for (std::size_t b = 0; b < width; ++b)
      if ((codes[i] >> b & 1) != 0)
        out[(i * width + b) / 8] |= static_cast<std::uint8_t>(1u << ((i * width + b) % 8));
  return out;
}

}  // namespace

TEST_CASE("codes of few bits are packed and unpacked in the same order on every tier", "[tiers]") {
  std::mt19937 rng(1);
  for (Isa isa : supported_isas())
    for (int bits : {1, 2, 4})
      for (std::size_t n : test::awkward_lengths())
        for (std::size_t offset : test::kOffsets) {
          INFO(name_of(isa) << ", " << n << " codes of " << bits << " bits, offset " << offset);
          const std::size_t bytes = (n * static_cast<std::size_t>(bits) + 7) / 8;
          GuardedBuffer<std::uint8_t> codes(n + offset), packed(bytes + offset), back(n + offset);
          // Bits above the code belong to nobody.
          for (std::uint8_t& code : codes) code = static_cast<std::uint8_t>(rng());
          std::fill(packed.begin(), packed.end(), std::uint8_t{0xa5});
          std::fill(back.begin(), back.end(), std::uint8_t{0xa5});

          bits_kernels(isa).pack(codes.data() + offset, n, bits, packed.data() + offset);
          const std::vector<std::uint8_t> expected = packed_bit_by_bit(codes.data() + offset, n, bits);
          REQUIRE(std::equal(expected.begin(), expected.end(), packed.begin() + offset));

          // What follows the last code in its byte must not come back.
          if (bytes > 0 && n * static_cast<std::size_t>(bits) % 8 != 0)
            packed[offset + bytes - 1] |=
                static_cast<std::uint8_t>(0xffu << (n * static_cast<std::size_t>(bits) % 8));
          bits_kernels(isa).unpack(packed.data() + offset, n, bits, back.data() + offset);
          for (std::size_t i = 0; i < n; ++i)
            REQUIRE(back[offset + i] == (codes[offset + i] & ((1 << bits) - 1)));

          for (std::size_t i = 0; i < offset; ++i) REQUIRE((packed[i] == 0xa5 && back[i] == 0xa5));
        }
}

TEST_CASE("codes fill their bytes from the lowest bit on", "[tiers]") {
  const std::uint8_t codes[] = {1, 2, 3, 0, 3};
  for (Isa isa : supported_isas()) {
    std::uint8_t out[3] = {};
    bits_kernels(isa).pack(codes, 5, 4, out);
    CHECK((out[0] == 0x21 && out[1] == 0x03 && out[2] == 0x03));
    bits_kernels(isa).pack(codes, 5, 2, out);
    CHECK((out[0] == 0b00111001 && out[1] == 0b11));
    bits_kernels(isa).pack(codes, 5, 1, out);
    CHECK(out[0] == 0b10101);
  }
}
