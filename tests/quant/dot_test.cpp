#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "quant/kernels/qgemm.h"
#include "quant/kernels/reference.h"
#include "tensor/random.h"
#include "tests/quant/tiers.h"
#include "tests/support/catch.h"
#include "tests/support/guarded_buffer.h"

using namespace nibble;
using namespace nibble::quant;
using nibble::test::GuardedBuffer;
using nibble::test::product_tiers;

namespace {

enum class Fill { random, lowest, highest, last_row };  // last_row: zeros in all others

struct Case {
  int weight_bits;
  std::size_t k;
  std::size_t rows, count;  // of the tile, and those that exist
  std::size_t columns;      // those that exist; as many panels as they need
  std::size_t tiles = 2;    // that share the weights
  std::uint8_t flip = 0;
  std::int32_t weight_zero_point = 0;
  int act_bits = 8;  // 1: binary, bytes 0 and 2
  Fill weights = Fill::random, activations = Fill::random;
  bool guard_front = false;  // of all that is read and written, else the end
};

std::string text(const Case& c) {
  return "W" + std::to_string(c.weight_bits) + " k " + std::to_string(c.k) + " rows " +
         std::to_string(c.count) + " of " + std::to_string(c.rows) + " columns " + std::to_string(c.columns) +
         " tiles " + std::to_string(c.tiles) + " flip " + std::to_string(c.flip) + " zero point " +
         std::to_string(c.weight_zero_point) + " A" + std::to_string(c.act_bits) + " fills " +
         std::to_string(static_cast<int>(c.weights)) + ' ' + std::to_string(static_cast<int>(c.activations));
}

std::int32_t draw(Fill fill, std::int32_t lo, std::int32_t hi, Rng& rng) {
  if (fill != Fill::random) return fill == Fill::lowest ? lo : hi;
  return lo + static_cast<std::int32_t>(rng.below(static_cast<std::uint64_t>(hi - lo) + 1));
}

// Packs and multiplies next to forbidden pages. The number of elements that were compared, or 0 when one was
// wrong.
std::size_t agrees(const QGemmKernels& kernels, const Case& c, Rng& rng) {
  const std::size_t lanes = kernels.lanes, panels = (c.columns + lanes - 1) / lanes, width = panels * lanes;
  const std::size_t panel_bytes = kernels.panel_bytes(c.weight_bits, c.k);

  const std::int32_t lowest = c.weight_bits == 8 ? -128 : 0, highest = lowest + (1 << c.weight_bits) - 1;
  GuardedBuffer<std::int8_t> stored(c.columns * c.k, c.guard_front), unpacked(c.columns * c.k, c.guard_front);
  for (std::int8_t& x : stored) x = static_cast<std::int8_t>(draw(c.weights, lowest, highest, rng));
  GuardedBuffer<std::byte> packed(panels * panel_bytes, c.guard_front);
  for (std::size_t p = 0; p < panels; ++p) {
    const std::size_t n = std::min(lanes, c.columns - p * lanes), from = p * lanes * c.k;
    std::byte* const panel = packed.data() + p * panel_bytes;
    kernels.pack_panel(stored.data() + from, c.k, n, c.k, c.weight_bits, panel);
    kernels.unpack_panel(panel, n, c.k, c.weight_bits, unpacked.data() + from, c.k);
  }
  if (!std::equal(stored.begin(), stored.end(), unpacked.begin())) return 0;

  const bool fits_int16 = c.weight_bits < 8 || c.act_bits < 8;
  const WeightForm form = kernels.best_form(c.weight_bits, fits_int16, c.rows, c.tiles);
  const bool taken_away = form != WeightForm::packed && c.weight_bits < 8;  // the zero point, by expand_panel
  GuardedBuffer<std::uint8_t> a(c.count * c.k, c.guard_front);
  const int step = c.act_bits == 1 ? 2 : 1;
  for (std::uint8_t& x : a)
    x = static_cast<std::uint8_t>(step * draw(c.activations, 0, (1 << c.act_bits) - 1, rng));
  if (c.activations == Fill::last_row) std::fill(a.begin(), a.end() - c.k, c.flip);
  std::vector<const std::uint8_t*> rows(c.count);
  for (std::size_t i = 0; i < c.count; ++i) rows[i] = a.data() + i * c.k;
  GuardedBuffer<std::byte> packed_rows(kernels.row_bytes(c.rows, c.k, c.act_bits, form), c.guard_front);
  GuardedBuffer<std::int32_t> init(c.rows, c.guard_front), acc(c.rows * width, c.guard_front);
  std::fill(packed_rows.begin(), packed_rows.end(), std::byte{0x5a});
  std::fill(init.begin(), init.end(), 0x5a5a5a5a);
  std::fill(acc.begin(), acc.end(), 0x5a5a5a5a);
  kernels.pack_rows({.rows = rows.data(),
                     .count = c.count,
                     .tile_rows = c.rows,
                     .k = c.k,
                     .act_bits = c.act_bits,
                     .act_step = step,
                     .flip = c.flip,
                     .form = form,
                     .group = c.k,
                     .weight_zero_point = taken_away ? 0 : c.weight_zero_point},
                    packed_rows.data(), init.data());

  QGemmTile tile{};
  tile.rows = c.rows;
  tile.panels = panels;
  tile.k = c.k;
  tile.weight_bits = c.weight_bits;
  tile.act_bits = c.act_bits;
  tile.act_step = step;
  tile.form = form;
  tile.fits_int16 = fits_int16;
  tile.a = packed_rows.data();
  tile.w = packed.data();
  tile.panel_stride = panel_bytes;
  tile.init = init.data();
  tile.acc = acc.data();
  tile.row_stride = width;
  const std::size_t expanded_bytes = form == WeightForm::packed ? 0 : kernels.expanded_bytes(c.k, form);
  GuardedBuffer<std::byte> expanded(panels * expanded_bytes, c.guard_front);
  if (form != WeightForm::packed) {
    std::fill(expanded.begin(), expanded.end(), std::byte{0x5a});
    for (std::size_t p = 0; p < panels; ++p)
      kernels.expand_panel(packed.data() + p * panel_bytes, c.k, c.weight_bits,
                           taken_away ? c.weight_zero_point : 0, form, expanded.data() + p * expanded_bytes);
    tile.w = expanded.data();
    tile.panel_stride = expanded_bytes;
  }
  kernels.run(tile);

  reference::Codes x{static_cast<std::int64_t>(c.count), static_cast<std::int64_t>(c.k), 0, {}};
  for (const std::uint8_t byte : a) {
    const auto flipped = static_cast<std::uint8_t>(byte ^ c.flip);
    x.code.push_back(kernels.signed_activations ? static_cast<std::int8_t>(flipped) : flipped);
  }
  reference::Codes w{static_cast<std::int64_t>(c.columns), x.cols, c.weight_zero_point, {}};
  for (const std::int8_t code : stored) w.code.push_back(c.weight_bits == 1 ? 2 * code : code);
  const std::vector<std::int64_t> expected = reference::qgemm(x, w);
  for (std::size_t i = 0; i < c.rows; ++i)
    for (std::size_t j = 0; j < c.columns; ++j)
      if (acc[i * width + j] != (i < c.count ? expected[i * c.columns + j] : 0)) return 0;
  return c.rows * c.columns;
}

std::vector<std::size_t> heights(const QGemmKernels& kernels) {
  std::vector<std::size_t> all;
  for (const std::size_t* rows = kernels.row_counts; *rows != 0; ++rows) all.push_back(*rows);
  return all;
}

// Zero points that stored weights of so many bits may have.
std::int32_t zero_point(int bits, Rng& rng) {
  return bits == 1 ? 1 : draw(Fill::random, bits == 8 ? -128 : 0, bits == 8 ? 127 : (1 << bits) - 1, rng);
}

}  // namespace

TEST_CASE("dot kernels are exact for every depth up to 300", "[tiers]") {
  for (const Isa isa : product_tiers()) {
    const QGemmKernels& kernels = dot_kernels(isa);
    Rng rng(41);
    for (const int bits : {1, 2, 4, 8})
      for (const std::size_t height : heights(kernels))
        for (std::size_t k = 1; k <= 300; k += height < 16 ? 7 : 1) {
          const int act_bits = 1 << rng.below(4);
          const Case c{.weight_bits = bits,
                       .k = k,
                       .rows = height,
                       .count = 1 + rng.below(height),
                       .columns = 1 + rng.below(kernels.max_panels * kernels.lanes),
                       .tiles = 1 + rng.below(3),
                       .flip = static_cast<std::uint8_t>(act_bits == 8 && rng.below(2) == 0 ? 0x80 : 0),
                       .weight_zero_point = rng.below(3) == 0 ? 0 : zero_point(bits, rng),
                       .act_bits = act_bits,
                       .guard_front = rng.below(2) == 0};
          const std::size_t compared = agrees(kernels, c, rng);
          INFO(name_of(isa) << ' ' << text(c));
          REQUIRE(compared > 0);
        }
  }
}

TEST_CASE("dot kernels at the borders of tiles", "[tiers]") {
  for (const Isa isa : product_tiers()) {
    const QGemmKernels& kernels = dot_kernels(isa);
    Rng rng(42);
    for (const int bits : {1, 2, 4, 8})
      for (const std::size_t height : heights(kernels))
        for (std::size_t count = 1; count <= height; ++count)
          for (std::size_t panels = 1; panels <= kernels.max_panels; ++panels)
            for (const std::size_t missing : {std::size_t{0}, kernels.lanes - 1})
              for (const std::size_t k : {64, 97}) {
                const Case c{.weight_bits = bits,
                             .k = k,
                             .rows = height,
                             .count = count,
                             .columns = panels * kernels.lanes - missing,
                             .weight_zero_point = zero_point(bits, rng),
                             .activations = missing == 0 ? Fill::random : Fill::last_row,
                             .guard_front = count % 2 == 0};
                const std::size_t compared = agrees(kernels, c, rng);
                INFO(name_of(isa) << ' ' << text(c));
                REQUIRE(compared > 0);
              }
  }
}

TEST_CASE("dot kernels do not saturate", "[tiers]") {
  for (const Isa isa : product_tiers()) {
    const QGemmKernels& kernels = dot_kernels(isa);
    Rng rng(43);
    for (const int bits : {1, 2, 4, 8})
      for (const int act_bits : {1, 2, 4, 8})
        for (const std::size_t height : heights(kernels))
          for (const std::size_t k : {200, 4096, 32896})  // the last: the most that int32 holds for 8 bits
            for (const Fill weights : {Fill::lowest, Fill::highest})
              for (const Fill activations : {Fill::lowest, Fill::highest}) {
                if (k > 200 && (bits < 8 || act_bits < 8) && activations == Fill::lowest) continue;
                const Case c{.weight_bits = bits,
                             .k = k,
                             .rows = height,
                             .count = std::min<std::size_t>(height, k > 200 ? 2 : 32),
                             .columns = kernels.lanes + 1,
                             .act_bits = act_bits,
                             .weights = weights,
                             .activations = activations};
                const std::size_t compared = agrees(kernels, c, rng);
                INFO(name_of(isa) << ' ' << text(c));
                REQUIRE(compared > 0);
              }
  }
}
