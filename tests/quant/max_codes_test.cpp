#include "quant/kernels/max_codes.h"

#include <algorithm>
#include <deque>
#include <random>
#include <vector>

#include "tests/quant/tier_sizes.h"
#include "tests/support/catch.h"
#include "tests/support/guarded_buffer.h"

using namespace nibble;
using namespace nibble::quant;
using nibble::test::GuardedBuffer;

TEST_CASE("maxima of rows of bytes on every tier", "[tiers]") {
  std::mt19937 rng(1);
  for (Isa isa : supported_isas())
    for (std::size_t n : test::awkward_lengths())
      for (std::size_t offset : test::kOffsets)
        for (std::size_t count : {1, 2, 3, 9}) {
          INFO(name_of(isa) << ", " << count << " rows of " << n << " bytes, offset " << offset);
          std::deque<GuardedBuffer<std::uint8_t>> buffers;
          std::vector<const std::uint8_t*> rows;
          for (std::size_t r = 0; r < count; ++r) {
            buffers.emplace_back(n + offset);
            for (std::uint8_t& code : buffers.back()) code = static_cast<std::uint8_t>(rng());
            rows.push_back(buffers.back().data() + offset);
          }
          std::vector<std::uint8_t> most(n), most_signed(n);
          for (std::size_t i = 0; i < n; ++i) {
            most[i] = rows[0][i];
            most_signed[i] = rows[0][i];
            for (const std::uint8_t* row : rows) {
              most[i] = std::max(most[i], row[i]);
              if (static_cast<std::int8_t>(row[i]) > static_cast<std::int8_t>(most_signed[i]))
                most_signed[i] = row[i];
            }
          }
          GuardedBuffer<std::uint8_t> out(n + offset);
          std::fill(out.begin(), out.end(), std::uint8_t{0xa5});
          max_kernels(isa).max_u8(rows.data(), count, n, out.data() + offset);
          CHECK(std::equal(most.begin(), most.end(), out.begin() + offset));
          max_kernels(isa).max_s8(rows.data(), count, n, out.data() + offset);
          CHECK(std::equal(most_signed.begin(), most_signed.end(), out.begin() + offset));
          for (std::size_t i = 0; i < offset; ++i) CHECK(out[i] == 0xa5);
          max_kernels(isa).max_u8(rows.data(), count, n, buffers.back().data() + offset);  // in place
          CHECK(std::equal(most.begin(), most.end(), buffers.back().begin() + offset));
        }
}
