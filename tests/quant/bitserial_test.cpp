#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "quant/kernels/qgemm.h"
#include "tensor/random.h"
#include "tests/support/catch.h"
#include "tests/support/guarded_buffer.h"

using namespace nibble;
using namespace nibble::quant;
using nibble::test::GuardedBuffer;

namespace {

enum class Codes { random, zeros, max };

struct Case {
  int weight_bits, act_bits, act_step;
  std::size_t k;
  std::size_t rows, count;  // of the tile, and those that exist
  std::size_t columns;      // those that exist; as many panels as they need
  std::int32_t weight_zero_point;
  Codes weights = Codes::random, activations = Codes::random;
};

std::size_t code(Codes codes, int bits, Rng& rng) {
  const std::size_t levels = std::size_t{1} << bits;
  return codes == Codes::zeros ? 0 : codes == Codes::max ? levels - 1 : rng.below(levels);
}

std::string text(const Case& c) {
  return "W" + std::to_string(c.weight_bits) + "A" + std::to_string(c.act_bits) + " step " +
         std::to_string(c.act_step) + " k " + std::to_string(c.k) + " rows " + std::to_string(c.count) +
         " of " + std::to_string(c.rows) + " columns " + std::to_string(c.columns);
}

// Packs and multiplies, with every buffer up to the byte in front of a forbidden page. The number of elements
// that were compared, or 0 when one was wrong.
std::size_t agrees(const QGemmKernels& kernels, const Case& c, Rng& rng) {
  const std::size_t lanes = kernels.lanes, panels = (c.columns + lanes - 1) / lanes, width = panels * lanes;
  const std::size_t panel_bytes = kernels.panel_bytes(c.weight_bits, c.k);
  if (panel_bytes % 64 != 0) return 0;

  GuardedBuffer<std::int8_t> codes(c.columns * c.k), unpacked(c.columns * c.k);
  for (std::int8_t& x : codes) x = static_cast<std::int8_t>(code(c.weights, c.weight_bits, rng));
  GuardedBuffer<std::byte> packed(panels * panel_bytes);
  for (std::size_t p = 0; p < panels; ++p) {
    const std::size_t n = std::min(lanes, c.columns - p * lanes);
    const std::size_t from = p * lanes * c.k;
    kernels.pack_panel(codes.data() + from, c.k, n, c.k, c.weight_bits, packed.data() + p * panel_bytes);
    kernels.unpack_panel(packed.data() + p * panel_bytes, n, c.k, c.weight_bits, unpacked.data() + from, c.k);
  }
  if (!std::equal(codes.begin(), codes.end(), unpacked.begin())) return 0;

  GuardedBuffer<std::uint8_t> a(c.count * c.k);
  for (std::uint8_t& x : a)
    x = static_cast<std::uint8_t>(code(c.activations, c.act_bits, rng) *
                                  static_cast<std::size_t>(c.act_step));
  std::vector<const std::uint8_t*> rows(c.count);
  for (std::size_t i = 0; i < c.count; ++i) rows[i] = a.data() + i * c.k;
  GuardedBuffer<std::byte> packed_rows(kernels.row_bytes(c.rows, c.k, c.act_bits, WeightForm::packed));
  GuardedBuffer<std::int32_t> init(c.rows), acc(c.rows * width);
  std::fill(packed_rows.begin(), packed_rows.end(), std::byte{0x5a});
  kernels.pack_rows({.rows = rows.data(),
                     .count = c.count,
                     .tile_rows = c.rows,
                     .k = c.k,
                     .act_bits = c.act_bits,
                     .act_step = c.act_step,
                     .flip = 0,
                     .form = WeightForm::packed,
                     .group = c.k,
                     .weight_zero_point = c.weight_zero_point},
                    packed_rows.data(), init.data());
  QGemmTile tile{};
  tile.rows = c.rows;
  tile.panels = panels;
  tile.k = c.k;
  tile.weight_bits = c.weight_bits;
  tile.act_bits = c.act_bits;
  tile.act_step = c.act_step;
  tile.a = packed_rows.data();
  tile.w = packed.data();
  tile.panel_stride = panel_bytes;
  tile.init = init.data();
  tile.acc = acc.data();
  tile.row_stride = width;
  kernels.run(tile);

  const int weight_step = c.weight_bits == 1 ? 2 : 1;
  for (std::size_t i = 0; i < c.rows; ++i)
    for (std::size_t j = 0; j < width; ++j) {
      std::int32_t products = 0, sum = 0;
      for (std::size_t p = 0; i < c.count && p < c.k; ++p) {
        const std::int32_t x = rows[i][p];
        sum += x;
        if (j < c.columns) products += x * weight_step * codes[j * c.k + p];
      }
      if (init[i] != -c.weight_zero_point * sum) return 0;
      if (acc[i * width + j] != products - c.weight_zero_point * sum) return 0;
    }
  return c.rows * width;
}

// f(weight_bits, act_bits, act_step, weight_zero_point)
template <class F>
void for_each_width(F f) {
  for (int weight_bits : {1, 2})
    for (int act_bits : {1, 2})
      for (int act_step = 1; act_step <= 3 - act_bits; ++act_step)
        f(weight_bits, act_bits, act_step, weight_bits);
}

std::vector<std::size_t> heights(const QGemmKernels& kernels) {
  std::vector<std::size_t> all;
  for (const std::size_t* rows = kernels.row_counts; *rows != 0; ++rows) all.push_back(*rows);
  return all;
}

}  // namespace

TEST_CASE("bitserial kernels count exactly, for every depth up to 300", "[tiers]") {
  for (const Isa isa : supported_isas()) {
    const QGemmKernels& kernels = bitserial_kernels(isa);
    const std::vector<std::size_t> rows = heights(kernels);
    Rng rng(31);
    std::size_t elements = 0, turn = 0;
    for_each_width([&](int weight_bits, int act_bits, int act_step, std::int32_t zero_point) {
      for (std::size_t k = 1; k <= 300; ++k, ++turn) {
        const std::size_t height = rows[turn % rows.size()];
        const Case c{.weight_bits = weight_bits,
                     .act_bits = act_bits,
                     .act_step = act_step,
                     .k = k,
                     .rows = height,
                     .count = 1 + rng.below(height),
                     .columns = 1 + rng.below(kernels.max_panels * kernels.lanes),
                     .weight_zero_point = zero_point};
        const std::size_t compared = agrees(kernels, c, rng);
        INFO(name_of(isa) << ' ' << text(c));
        REQUIRE(compared > 0);
        elements += compared;
      }
    });
    CHECK(elements >= 50'000);
  }
}

TEST_CASE("bitserial kernels at the borders of tiles", "[tiers]") {
  for (const Isa isa : supported_isas()) {
    const QGemmKernels& kernels = bitserial_kernels(isa);
    Rng rng(32);
    for_each_width([&](int weight_bits, int act_bits, int act_step, std::int32_t zero_point) {
      for (const std::size_t height : heights(kernels))
        for (std::size_t count = 1; count <= height; ++count)
          for (std::size_t panels = 1; panels <= kernels.max_panels; ++panels)
            for (std::size_t missing : {std::size_t{0}, kernels.lanes - 1}) {
              const Case c{.weight_bits = weight_bits,
                           .act_bits = act_bits,
                           .act_step = act_step,
                           .k = 97,
                           .rows = height,
                           .count = count,
                           .columns = panels * kernels.lanes - missing,
                           .weight_zero_point = zero_point};
              INFO(name_of(isa) << ' ' << text(c));
              REQUIRE(agrees(kernels, c, rng) > 0);
            }
    });
  }
}

// Counters are narrow inside and are emptied every so many words of 32 bits, which full ones reach first.
TEST_CASE("bitserial counters do not overflow", "[tiers]") {
  for (const Isa isa : supported_isas()) {
    const QGemmKernels& kernels = bitserial_kernels(isa);
    Rng rng(33);
    for_each_width([&](int weight_bits, int act_bits, int act_step, std::int32_t zero_point) {
      for (std::size_t k :
           {992, 993, 1023, 1024, 1025, 1056, 3967, 3968, 3969, 4000, 4095, 4096, 4097, 20000})
        for (const Codes weights : {Codes::random, Codes::zeros, Codes::max})
          for (const Codes activations : {Codes::random, Codes::max}) {
            if (k != 1025 && weights != activations) continue;
            const Case c{.weight_bits = weight_bits,
                         .act_bits = act_bits,
                         .act_step = act_step,
                         .k = k,
                         .rows = 3,
                         .count = 2,
                         .columns = kernels.lanes + (kernels.max_panels > 1 ? 1 : 0),
                         .weight_zero_point = zero_point,
                         .weights = weights,
                         .activations = activations};
            INFO(name_of(isa) << ' ' << text(c));
            REQUIRE(agrees(kernels, c, rng) > 0);
          }
    });
  }
}
