#include "quant/kernels/int_probe.h"
#include "quant/kernels/popcount.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

using nibble::NIBBLE_TIER::unroll;

// Counters of a tile: as many as every tier holds in registers.
constexpr std::size_t kRows = 4, kPanels = 2;

std::int32_t run(std::size_t rounds) noexcept {
  constexpr auto rows = std::make_index_sequence<kRows>{};
  constexpr auto panels = std::make_index_sequence<kPanels>{};
  constexpr std::size_t kAllColumns = kPanels * kStep * kColumns;
  std::uint32_t shared[kStep * kRows * kSharedWords], bits[kAllColumns];
  for (std::size_t i = 0; i < kStep * kRows; ++i) split_shared(0x0f1e2d3cu, shared + i * kSharedWords);
  for (std::size_t j = 0; j < kAllColumns; ++j) bits[j] = 0x12345678u;
  // What is behind the pointers could be anything: no two rows or columns are known to be alike.
  const std::uint32_t *a = shared, *w = bits;
  asm("" : "+r"(w) : : "memory");
  Columns columns[kPanels][kStep];
  unroll(panels, [&](auto v) {
    for (std::size_t s = 0; s < kStep; ++s) columns[v][s].load(w + (v * kStep + s) * kColumns);
  });
  Counter counters[kRows][kPanels];
  for (std::size_t r = 0; r < rounds; ++r) {
    // Rows are read again, as a product reads them.
    asm("" : "+r"(a));
    unroll(
        panels, [&](auto v) __attribute__((always_inline)) {
          unroll(
              rows, [&](auto i) __attribute__((always_inline)) {
                counters[i][v].add_step(a + i * kSharedWords, kRows * kSharedWords, columns[v]);
              });
        });
  }
  VecI total(0);
  unroll(panels, [&](auto v) {
    unroll(rows, [&](auto i) { total = total + counters[i][v].total(a, columns[v][0]); });
  });
  std::int32_t counts[kColumns];
  total.store_unaligned(counts);
  return counts[0];
}

}  // namespace

extern const IntProbe bit_probe = {2 * 32 * kColumns * kStep * kRows * kPanels, run};

}  // namespace nibble::quant::NIBBLE_TIER
