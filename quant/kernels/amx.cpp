// The dot family with int8 tiles. Weights stand as the tier avx512vnni packs them, because 16 blocks of an
// 8-bit panel (drawn in dot.cpp: 16 columns x 4 of k each) are what the instruction takes as its operand B:
//
//             B: two panels, 64 of k                 one step along k: 4 loads, 4 products of 16 x 16 x 64.
//             [tile 6]  [tile 7]                     The latency of a product is that of three to four, so
//   A         +-------+ +-------+                    four accumulators keep the unit busy.
//   [tile 4]  |   0   | |   1   |  rows 0 .. 15
//             +-------+ +-------+
//   [tile 5]  |   2   | |   3   |  rows 16 .. 31
//             +-------+ +-------+
//
// Rows are packed as [step][row][64 bytes of k], so that a tile of A is 1 KiB without gaps. The panels end at
// a multiple of 4 and nothing may be read behind them, hence the last step:
//
//   k = 148, 37 quads:       quads 0 ... 15 | 16 ... 31 | 32 ... 36 (end of the panel)
//   steps 0 and 1 of B       [............] [.........]
//   step 2 of B: the last 16 quads               [21 ............ 36]
//   step 2 of A: zeros where step 1 has been     [0 0 0 0 0 |32 . 36]
//
// and where there are fewer than 16 quads, tiles are as deep as there are.
//
// A tile of a few rows is left to avx512vnni, with all that belongs to it, and so are scales by group.
// Written from the manuals and tested by emulation (tiles.h): this has never run on a processor with tiles,
// no choice here has been measured.

#include <immintrin.h>

#include <utility>

#include "quant/kernels/qgemm.h"
#include "quant/kernels/tiles.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

constexpr std::size_t kColumns = 16;  // of a panel
constexpr std::size_t kQuads = 16;    // of a step along k
constexpr std::size_t kStep = 4 * kQuads;
constexpr std::size_t kQuadBytes = 4 * kColumns;  // of a panel
// How far ahead of a lone tile its weights are fetched, as in dot.cpp.
constexpr std::size_t kAhead = 2048;

constexpr std::size_t kRowCounts[] = {1, 2, 4, 8, 12, 16, 32, 0};  // up to 12: those of avx512vnni
constexpr std::size_t kOneTile[] = {16, 0}, kTwoTiles[] = {32, 0};
constexpr std::size_t kFewRows = 8;

// Read when called, never before main: this file's instructions may not exist on the machine.
const QGemmKernels& without_tiles() { return avx512vnni::dot_kernels; }
bool has_tiles(std::size_t rows) { return rows >= kTileRows; }

std::size_t divide_up(std::size_t a, std::size_t b) { return (a + b - 1) / b; }

struct Depth {
  explicit Depth(std::size_t k) : quads(divide_up(k, 4)), steps(divide_up(quads, kQuads)) {}

  std::size_t quads, steps;
  // Of a step, and where in the panel the last one begins.
  std::size_t step_quads() const { return steps > 1 ? kQuads : quads; }
  std::size_t last_quad() const { return quads - step_quads(); }
};

template <std::size_t N, class F>
[[gnu::always_inline]] inline void unroll(F f) {
  [&]<std::size_t... I>(std::index_sequence<I...>) { (f(std::integral_constant<std::size_t, I>{}), ...); }
  (std::make_index_sequence<N>{});
}
// f(i, v) for every accumulator. Captures are by value here and below: what is captured by reference GCC
// keeps in memory, which loads and stores of tiles might read and write for all it knows.
template <std::size_t M, std::size_t V, class F>
[[gnu::always_inline]] inline void for_each_tile(F f) {
  unroll<M * V>([f](auto x) {
    f(std::integral_constant<std::size_t, x / V>{}, std::integral_constant<std::size_t, x % V>{});
  });
}

constexpr int accumulator(std::size_t i, std::size_t v) { return static_cast<int>(2 * i + v); }
constexpr int rows_tile(std::size_t i) { return static_cast<int>(4 + i); }
constexpr int weights_tile(std::size_t v) { return static_cast<int>(6 + v); }

void configure(std::size_t step_quads) {
  TileConfig config;
  for (int t = 0; t < 4; ++t) config.set(t, kTileRows, 4 * kColumns);
  for (int t = 4; t < 6; ++t) config.set(t, kTileRows, 4 * step_quads);
  for (int t = 6; t < 8; ++t) config.set(t, step_quads, kQuadBytes);
  configure_tiles(config);
}

// Accumulators start from memory only where a zero point gives them something to start from.
template <std::size_t M, std::size_t V>
void start(const std::int32_t* init, std::int32_t* acc, std::size_t row_step) {
  __m512i any = _mm512_loadu_si512(init);
  if constexpr (M == 2) any = _mm512_or_si512(any, _mm512_loadu_si512(init + kTileRows));
  if (_mm512_test_epi32_mask(any, any) == 0)
    return for_each_tile<M, V>([](auto i, auto v) { zero_tile<accumulator(i, v)>(); });
  for (std::size_t row = 0; row < M * kTileRows; ++row)
    for (std::size_t v = 0; v < V; ++v)
      _mm512_storeu_si512(acc + row * row_step + v * kColumns, _mm512_set1_epi32(init[row]));
  for_each_tile<M, V>([=](auto i, auto v) {
    load_tile<accumulator(i, v)>(acc + i * kTileRows * row_step + v * kColumns, 4 * row_step);
  });
}

// Rows of M tiles, panels [panel, panel + V).
template <std::size_t M, std::size_t V>
void run_panels(const QGemmTile& t, std::size_t panel) {
  const Depth depth(t.k);
  const std::size_t row_step = t.row_stride, last = depth.steps - 1, last_quad = depth.last_quad(),
                    panel_stride = t.panel_stride;
  const std::byte *a = t.a, *const w = t.w + panel * panel_stride;
  std::int32_t* const acc = t.acc + panel * kColumns;
  start<M, V>(t.init, acc, row_step);
  for (std::size_t step = 0; step <= last; ++step, a += M * kTileRows * kStep) {
    const std::byte* const from = w + (step < last ? step * kQuads : last_quad) * kQuadBytes;
    unroll<M>([=](auto i) { load_tile<rows_tile(i)>(a + i * kTileRows * kStep, kStep); });
    unroll<V>([=](auto v) { load_tile<weights_tile(v)>(from + v * panel_stride, kQuadBytes); });
    if constexpr (M == 1)
      for (std::size_t v = 0; v < V; ++v)
        for (std::size_t q = 0; q < kQuads; ++q)
          __builtin_prefetch(from + v * panel_stride + kAhead + q * kQuadBytes);
    for_each_tile<M, V>(
        [](auto i, auto v) { dot_tiles<accumulator(i, v), rows_tile(i), weights_tile(v)>(); });
  }
  for_each_tile<M, V>([=](auto i, auto v) {
    store_tile<accumulator(i, v)>(acc + i * kTileRows * row_step + v * kColumns, 4 * row_step);
  });
}

template <std::size_t M>
void run_rows(const QGemmTile& t) {
  std::size_t panel = 0;
  for (; panel + 2 <= t.panels; panel += 2) run_panels<M, 2>(t, panel);
  if (panel < t.panels) run_panels<M, 1>(t, panel);
}

// Tiles are configured for each call, for there is no later moment at which to release them; and as long as
// they hold something, every switch of threads saves 8 KiB.
void run(const QGemmTile& t) noexcept {
  if (!has_tiles(t.rows)) return without_tiles().run(t);
  configure(Depth(t.k).step_quads());
  t.rows == kTileRows ? run_rows<1>(t) : run_rows<2>(t);
  release_tiles();
}

// Two accumulators do not hide the latency of a product. So beyond 16 rows all tiles have 32 of them, were
// even half of the last one empty.
const std::size_t* row_counts_for(std::size_t m, bool has_groups) noexcept {
  if (m <= kFewRows || has_groups) return without_tiles().row_counts;
  return m <= kTileRows ? kOneTile : kTwoTiles;
}

// ---- Weights.

std::size_t panel_bytes(int bits, std::size_t k) noexcept { return without_tiles().panel_bytes(bits, k); }

void pack_panel(const std::int8_t* codes, std::size_t stride, std::size_t n, std::size_t k, int bits,
                std::byte* panel) noexcept {
  without_tiles().pack_panel(codes, stride, n, k, bits, panel);
}

void unpack_panel(const std::byte* panel, std::size_t n, std::size_t k, int bits, std::int8_t* codes,
                  std::size_t stride) noexcept {
  without_tiles().unpack_panel(panel, n, k, bits, codes, stride);
}

// Tiles are loaded from memory and know bytes only.
WeightForm best_form(int bits, bool fits_int16, std::size_t tile_rows, std::size_t tiles) noexcept {
  if (!has_tiles(tile_rows)) return without_tiles().best_form(bits, fits_int16, tile_rows, tiles);
  return bits == 8 ? WeightForm::packed : WeightForm::bytes;
}

std::size_t expanded_bytes(std::size_t k, WeightForm form) noexcept {
  return without_tiles().expanded_bytes(k, form);
}

void expand_panel(const std::byte* panel, std::size_t k, int bits, std::int32_t zero_point, WeightForm form,
                  std::byte* out) noexcept {
  without_tiles().expand_panel(panel, k, bits, zero_point, form, out);
}

// ---- Activations.

std::size_t row_bytes(std::size_t tile_rows, std::size_t k, int act_bits, WeightForm form) noexcept {
  if (!has_tiles(tile_rows)) return without_tiles().row_bytes(tile_rows, k, act_bits, form);
  return Depth(k).steps * tile_rows * kStep;
}

// One row to out, a step every `stride` bytes; the sum of its bytes.
std::int32_t pack_row(const std::uint8_t* row, std::size_t k, std::uint8_t flip, std::byte* out,
                      std::size_t stride) {
  const Depth depth(k);
  const __m512i flips = _mm512_set1_epi8(static_cast<char>(flip)), ones = _mm512_set1_epi8(1);
  __m512i sum = _mm512_setzero_si512();
  // Bytes [skip, end) of a step; zeros around them.
  const auto pack_step = [&](const std::uint8_t* from, std::size_t skip, std::size_t end) {
    const __mmask64 mask = (~0ull >> (kStep - end)) & (~0ull << skip);
    const __m512i x =
        _mm512_xor_si512(_mm512_maskz_loadu_epi8(mask, from), _mm512_maskz_mov_epi8(mask, flips));
    _mm512_storeu_si512(out, x);
    sum = _mm512_dpbusd_epi32(sum, x, ones);
    out += stride;
  };
  for (std::size_t step = 0; step + 1 < depth.steps; ++step) pack_step(row + step * kStep, 0, kStep);
  const std::size_t begin = 4 * depth.last_quad(), done = (depth.steps - 1) * kStep;
  pack_step(row + begin, done - begin, k - begin);
  return _mm512_reduce_add_epi32(sum);
}

void pack_rows(const RowsToPack& r, std::byte* out, std::int32_t* init) noexcept {
  if (!has_tiles(r.tile_rows)) return without_tiles().pack_rows(r, out, init);
  const std::size_t stride = r.tile_rows * kStep;
  for (std::size_t i = 0; i < r.tile_rows; ++i, out += kStep) {
    if (i < r.count) {
      init[i] = -r.weight_zero_point * pack_row(r.rows[i], r.k, r.flip, out, stride);
      continue;
    }
    init[i] = 0;
    for (std::size_t step = 0; step < Depth(r.k).steps; ++step)
      _mm512_storeu_si512(out + step * stride, _mm512_setzero_si512());
  }
}

}  // namespace

extern constinit const QGemmKernels dot_kernels = {
    .lanes = kColumns,
    .max_panels = 4,
    .row_counts = kRowCounts,
    .least_expanded_rows = 4,
    .signed_activations = false,
    .panel_bytes = panel_bytes,
    .row_bytes = row_bytes,
    .pack_panel = pack_panel,
    .unpack_panel = unpack_panel,
    .pack_rows = pack_rows,
    .best_form = best_form,
    .expanded_bytes = expanded_bytes,
    .expand_panel = expand_panel,
    .run = run,
    .row_counts_for = row_counts_for,
};

}  // namespace nibble::quant::NIBBLE_TIER
