// Weights w and activations a of 1 or 2 bits as planes of single bits: with a = sum over r of 2^r a_r and w
// likewise,
//
//   sum over k of a w = sum over planes p, r of 2^(p + r) * ones of (w_p AND a_r),
//
// the products of XNOR-Net (Rastegari et al., 2016) and DoReFa-Net (Zhou et al., 2016). A weight of one bit
// is c in {0, 1} for the byte 2c: +-1 is that byte minus a zero point of 1. An activation of one bit has byte
// 0 or act_step. Both steps are powers of two and join the shift by p + r. No flip, no group scales.
//
//   panel   word of 32 k          0                         0              1
//           plane p               0                         1 (of 2)       0
//              [bits of column 0 | of column 1 | ...]  [ ... ]        [ ... ]  padded to 64 bytes
//
//   rows    word of 32 k          0                         0              1
//           plane r               0                         1 (of 2)       0
//              [bits of row 0 | of row 1 | ...]        [ ... ]        [ ... ]  for kRows rows,
//           then the same for the next kRows when the tile is taller
//
// Bit i of a word is element i of its 32, zero beyond k; popcount.h says in which form the bits of a row lie
// in memory.
//
// Vector instructions for 64 products of single bits, loads aside: avx512vnni 0.31, avx512 0.47, avx2 1.5,
// ssse3 3, sse2 6, neon 1.5. (Products of bytes by VNNI take 1, so that two planes by two gain nothing
// there.)

#include <cstring>

#include "quant/kernels/bit_planes.h"
#include "quant/kernels/popcount.h"
#include "quant/kernels/qgemm.h"
#include "tensor/simd/vec.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

using nibble::NIBBLE_TIER::unroll;

// Rows and panels whose counters are in registers together. Taller tiles are several of these: between two of
// them less happens than between two calls.
#if defined(__AVX512BW__)
constexpr std::size_t kRows = 4, kPanels = 2;
constexpr std::size_t kRowCounts[] = {1, 2, 3, 4, 8, 16, 0};
#else
constexpr std::size_t kRows = 5, kPanels = 2;
constexpr std::size_t kRowCounts[] = {1, 2, 3, 4, 5, 10, 20, 0};
#endif

constexpr std::size_t words_of(std::size_t k) { return (k + 31) / 32; }

std::size_t panel_bytes(int weight_bits, std::size_t k) noexcept {
  const std::size_t bytes = words_of(k) * static_cast<std::size_t>(weight_bits) * kColumns * 4;
  return (bytes + 63) / 64 * 64;
}

std::size_t row_bytes(std::size_t tile_rows, std::size_t k, int act_bits, WeightForm) noexcept {
  return words_of(k) * static_cast<std::size_t>(act_bits) * tile_rows * kSharedWords * 4;
}

void pack_panel(const std::int8_t* codes, std::size_t stride, std::size_t n, std::size_t k, int weight_bits,
                std::byte* panel) noexcept {
  std::memset(panel, 0, panel_bytes(weight_bits, k));
  for (std::size_t j = 0; j < n; ++j) {
    const std::uint8_t* const column = reinterpret_cast<const std::uint8_t*>(codes + j * stride);
    std::uint32_t* to = reinterpret_cast<std::uint32_t*>(panel) + j;
    for (std::size_t p = 0; p < k; p += 32) {
      const Bytes32 bytes(column + p, k - p);
      for (int plane = 0; plane < weight_bits; ++plane, to += kColumns) *to = bytes.plane(plane);
    }
  }
}

void unpack_panel(const std::byte* panel, std::size_t n, std::size_t k, int weight_bits, std::int8_t* codes,
                  std::size_t stride) noexcept {
  for (std::size_t j = 0; j < n; ++j) {
    std::int8_t* const column = codes + j * stride;
    std::memset(column, 0, k);
    const std::uint32_t* from = reinterpret_cast<const std::uint32_t*>(panel) + j;
    for (std::size_t p = 0; p < k; p += 32)
      for (int plane = 0; plane < weight_bits; ++plane, from += kColumns)
        add_plane(*from, plane, k - p < 32 ? k - p : 32, column + p);
  }
}

// Returns the sum of the bytes. Their lowest bit that counts is `lowest`.
template <int Planes>
std::uint32_t pack_row(const std::uint8_t* row, std::size_t k, int lowest, std::uint32_t* to,
                       std::size_t step) {
  std::uint32_t sum = 0;
  for (std::size_t p = 0; p < k; p += 32) {
    const Bytes32 bytes(row + p, k - p);
    for (int plane = 0; plane < Planes; ++plane, to += step) {
      const std::uint32_t bits = bytes.plane(lowest + plane);
      sum += popcount(bits) << plane;
      split_shared(bits, to);
    }
  }
  return sum << lowest;
}

void pack_rows(const RowsToPack& rows, std::byte* out, std::int32_t* init) noexcept {
  const std::size_t together = rows.tile_rows < kRows ? rows.tile_rows : kRows;
  const std::size_t block_bytes = row_bytes(together, rows.k, rows.act_bits, rows.form);
  const auto pack = rows.act_bits == 1 ? pack_row<1> : pack_row<2>;
  if (rows.count < rows.tile_rows)
    std::memset(out, 0, row_bytes(rows.tile_rows, rows.k, rows.act_bits, rows.form));
  for (std::size_t i = 0; i < rows.tile_rows; ++i) {
    init[i] = 0;
    if (i >= rows.count) continue;
    std::uint32_t* const to =
        reinterpret_cast<std::uint32_t*>(out + i / together * block_bytes) + i % together * kSharedWords;
    const std::uint32_t sum = pack(rows.rows[i], rows.k, rows.act_step == 2, to, together * kSharedWords);
    init[i] = -rows.weight_zero_point * static_cast<std::int32_t>(sum);
  }
}

// One plane of the activations against one of the weights, over words of k that a Counter has room for.
struct PlanePair {
  const std::uint32_t* a;
  std::size_t a_step;  // from one word of k to the next
  const std::uint32_t* w;
  std::size_t w_step, panel_stride;
  std::size_t words;
  int shift;
};

// Adds the counts to acc or, when there is `init`, sets acc to init of the row and the counts. The lambdas
// would not be inlined for large tiles, and their counters would live in memory.
template <std::size_t R, std::size_t V>
[[gnu::always_inline]] inline void add_pair(const PlanePair& pair, const std::int32_t* init,
                                            std::int32_t* acc, std::size_t row_stride) {
  constexpr auto rows = std::make_index_sequence<R>{};
  constexpr auto panels = std::make_index_sequence<V>{};
  Counter counters[R][V];
  const std::uint32_t *a = pair.a, *w = pair.w;
  std::size_t words = pair.words;
  for (; words >= kStep + kLastApart; words -= kStep) {
    unroll(
        panels, [&](auto v) __attribute__((always_inline)) {
          Columns columns[kStep];
          for (std::size_t s = 0; s < kStep; ++s)
            columns[s].load(w + v * pair.panel_stride + s * pair.w_step);
          unroll(
              rows, [&](auto i) __attribute__((always_inline)) {
                counters[i][v].add_step(a + i * kSharedWords, pair.a_step, columns);
              });
        });
    a += kStep * pair.a_step;
    w += kStep * pair.w_step;
  }
  for (; words > kLastApart; --words) {
    unroll(
        panels, [&](auto v) __attribute__((always_inline)) {
          Columns columns;
          columns.load(w + v * pair.panel_stride);
          unroll(
              rows, [&](auto i) __attribute__((always_inline)) {
                counters[i][v].add(a + i * kSharedWords, columns);
              });
        });
    a += pair.a_step;
    w += pair.w_step;
  }
  unroll(
      panels, [&](auto v) __attribute__((always_inline)) {
        Columns last{};
        if constexpr (kLastApart != 0) last.load(w + v * pair.panel_stride);
        unroll(
            rows, [&](auto i) __attribute__((always_inline)) {
              std::int32_t* const to = acc + i * row_stride + v * kColumns;
              const VecI before = init != nullptr ? VecI(init[i]) : VecI::load_unaligned(to);
              const VecI counts = counters[i][v].total(a + i * kSharedWords, last) << pair.shift;
              (before + counts).store_unaligned(to);
            });
      });
}

template <std::size_t R, std::size_t V>
void run_tile(const QGemmTile& t) {
  const auto act_bits = static_cast<std::size_t>(t.act_bits);
  const auto weight_bits = static_cast<std::size_t>(t.weight_bits);
  constexpr std::size_t kRowWords = R * kSharedWords;
  // A weight of one bit stands for the byte 0 or 2.
  const int steps = (t.act_step == 2) + (t.weight_bits == 1);
  const std::size_t words = words_of(t.k);
  const std::uint32_t* a = reinterpret_cast<const std::uint32_t*>(t.a);
  for (std::size_t row = 0; row < t.rows; row += R, a += words * act_bits * kRowWords) {
    const std::int32_t* init = t.init + row;
    const std::uint32_t *block_a = a, *block_w = reinterpret_cast<const std::uint32_t*>(t.w);
    std::size_t left = words;
    do {
      const std::size_t count = left < kMaxWords ? left : kMaxWords;
      for (std::size_t p = 0; p < weight_bits; ++p)
        for (std::size_t r = 0; r < act_bits; ++r) {
          add_pair<R, V>({.a = block_a + r * kRowWords,
                          .a_step = act_bits * kRowWords,
                          .w = block_w + p * kColumns,
                          .w_step = weight_bits * kColumns,
                          .panel_stride = t.panel_stride / 4,
                          .words = count,
                          .shift = static_cast<int>(p + r) + steps},
                         init, t.acc + row * t.row_stride, t.row_stride);
          init = nullptr;
        }
      block_a += count * act_bits * kRowWords;
      block_w += count * weight_bits * kColumns;
      left -= count;
    } while (left > 0);
  }
}

using Tile = void (*)(const QGemmTile&);

template <std::size_t V, std::size_t... R>
Tile pick(std::size_t rows, std::index_sequence<R...>) {
  static constexpr Tile kTiles[] = {run_tile<R + 1, V>...};
  return kTiles[rows - 1];
}

void run(const QGemmTile& t) noexcept {
  constexpr auto counts = std::make_index_sequence<kRows>{};
  const std::size_t rows = t.rows < kRows ? t.rows : kRows;
  (t.panels == 1 ? pick<1>(rows, counts) : pick<kPanels>(rows, counts))(t);
}

// Bits are not unpacked.
WeightForm best_form(int, bool, std::size_t, std::size_t) noexcept { return WeightForm::packed; }

}  // namespace

extern const QGemmKernels bitserial_kernels = {
    .lanes = kColumns,
    .max_panels = kPanels,
    .row_counts = kRowCounts,
    .least_expanded_rows = 1,
    .signed_activations = false,
    .panel_bytes = panel_bytes,
    .row_bytes = row_bytes,
    .pack_panel = pack_panel,
    .unpack_panel = unpack_panel,
    .pack_rows = pack_rows,
    .best_form = best_form,
    .expanded_bytes = nullptr,
    .expand_panel = nullptr,
    .run = run,
};

}  // namespace nibble::quant::NIBBLE_TIER
