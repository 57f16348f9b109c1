// The dot family of integer products: bytes times bytes, four at a time into int32 lanes.
//
// A panel has one block after the other. A block is one vector; its lane j belongs to column j, and each of
// the four bytes of a lane holds 8 / bits codes, which are 4 apart along k:
//
//   bits 8           byte 0   byte 1   byte 2   byte 3          bits 4           byte 0    ...   byte 3
//   block b, lane j: k=4b+0   k=4b+1   k=4b+2   k=4b+3          block b, lane j: low 4 bits: k=8b+0 ...
//   k=8b+3
//                                                                                high:       k=8b+4 ...
//                                                                                k=8b+7
//
// and so on for 2 bits (4 planes) and 1 bit (8 planes). So one shift and one mask give four successive codes
// of every column, the order in which dot4 wants them, and the activations a[i, k .. k + 3] are one int32 to
// broadcast. Both are padded with zeros to whole blocks; a zero activation makes the padding of the weights
// harmless.
//
// Instructions per 64 multiply-adds and row with AVX-512 VNNI: 1 dot, 1 broadcast load; per 64 weights,
// shared by the rows of a tile: 8 bits 1 load; 4 bits 1/2 load, 3/2 shift and mask; 2 bits 1/4 and 7/4; 1 bit
// 1/8 and 15/8; of one row 2 bits 1/4 and 5/4, 1 bit 1/8 and 9/8.

#include <utility>

#include "quant/kernels/dot4.h"
#include "quant/kernels/dot_pack.h"
#include "quant/kernels/qgemm.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

constexpr std::size_t kMaxPanels = kLanes == 1 ? 8 : 4;
// A tile's accumulators, one vector of weights per panel, a broadcast activation and a mask fill the
// registers.
#if defined(__AVX512F__)
constexpr std::size_t kRowCounts[] = {1, 2, 4, 8, 12, 0};
#elif defined(__aarch64__)
constexpr std::size_t kRowCounts[] = {1, 2, 4, 8, 0};
#else
constexpr std::size_t kRowCounts[] = {1, 2, 4, 0};
#endif
constexpr std::size_t kMaxRows = kRowCounts[std::size(kRowCounts) - 2];
constexpr std::size_t kFewRows = 4;
// Products of so few rows read every weight once and fetch them from memory into L2 before that, because the
// processor's own prefetching stops at every page. Where a line of weights takes less time than its way from
// L3, a fetch for each line costs more than it brings, and the beginnings of pages will do.
constexpr std::size_t kFetchingRows = 2;
constexpr std::size_t kPageBytes = 4096, kLineBytes = 64, kLinesOfPage = 4;
constexpr std::size_t kAhead = 1792,
                      kNear = 256;  // bytes, where lines are fetched: into L2, from there into L1

// ---- Products. A form says how a vector of weights becomes operands, and how their products are added up.

// As dot4 takes them.
template <int Bits>
struct Exact {
  static constexpr std::size_t kUnits = codes_per_byte(Bits);  // int32 of activations that a block meets
  static constexpr std::size_t kCodes = codes_per_block(Bits);
  template <std::size_t P>
  static VecI operand(VecI v) {
    return plane<Bits, static_cast<int>(P)>(v);
  }
  static VecI add(VecI acc, VecI a, VecI w) { return dot4(acc, a, w); }
};

#if defined(NIBBLE_HAS_PAIRS)
// Bytes of which it is proved that no pair leaves int16.
struct ProvedPairs : Exact<8> {
  static VecI add(VecI acc, VecI a, VecI w) { return widen(acc, pairs(a, w)); }
};

// The largest stored weight of so many bits before expand_panel.
constexpr int largest_weight(int bits) { return bits == 8 ? 128 : bits == 1 ? 2 : (1 << bits) - 1; }

// Weights of Origin bits, Bits before expand_panel, by activations up to LargestAct: pairs are added up in
// int16, as many as are sure to fit, before they are widened.
template <int Bits, int Origin, int LargestAct>
struct NarrowSums : Exact<Bits> {
  static constexpr int kPair = 2 * LargestAct * largest_weight(Origin);
  static constexpr std::size_t kBlocks = 32767 / kPair / Exact<Bits>::kUnits;
  static_assert(kBlocks > 0 && kBlocks * Exact<Bits>::kUnits * kPair <= 32767,
                "sums of int16 could overflow");
};

// Bytes that were 4 bits, of which four pairs fit: too few for sums that stay in registers.
struct FourPairs : Exact<8> {
  static constexpr std::size_t kDeferred = 4;
  static_assert(kDeferred * 2 * 255 * largest_weight(4) <= 32767, "sums of int16 could overflow");
};
#endif

#if defined(NIBBLE_HAS_WORDS)
// Widened to int16.
struct Words {
  static constexpr std::size_t kUnits = 1, kCodes = 2;
  template <std::size_t P>
  static VecI operand(VecI v) {
    return v;
  }
  static VecI add(VecI acc, VecI a, VecI w) { return dot2(acc, a, w); }
};
#endif

#if defined(__AVX512VNNI__)
// Forms whose planes have sums of their own.
template <class Form, std::size_t M>
constexpr bool kSumsByPlane = false;
template <>
constexpr bool kSumsByPlane<Exact<1>, 1> = true;
template <>
constexpr bool kSumsByPlane<Exact<2>, 1> = true;
#endif

// Forms that fetch the beginnings of pages only.
template <class Form, std::size_t M>
constexpr bool kFetchesPages = false;
#if defined(__AVX512VNNI__)
template <std::size_t M>
constexpr bool kFetchesPages<Exact<8>, M> = M <= kFetchingRows;
template <std::size_t M>
constexpr bool kFetchesPages<Exact<4>, M> = M <= kFetchingRows;
#endif
template <class Form, std::size_t M>
constexpr bool kFetchesLines = M <= kFetchingRows && !kFetchesPages<Form, M>;

// Activations [unit][row] and a vector of weights per panel, both running along k.
template <std::size_t V>
struct Operands {
  const std::int32_t* a;
  const std::byte* w[V];
  std::size_t panel_bytes, panel_stride;
  std::size_t at = 0;     // bytes into every panel
  std::size_t ahead = 0;  // from there: the lines to fetch

  // Behind a panel lies its neighbour, which is read at the same time; what is read next are the V panels
  // after them.
  std::size_t beyond(std::size_t bytes) const {
    return bytes + (at + bytes >= panel_bytes ? (V - 1) * panel_stride : 0);
  }

  // How many of the `left` blocks have what they fetch at the same distance.
  std::size_t fetch_lines(std::size_t left) {
    ahead = beyond(kAhead);
    const std::size_t rest =
        at + kAhead >= panel_bytes ? left : divide_up(panel_bytes - kAhead - at, kVecBytes);
    return rest < left ? rest : left;
  }

  // Fetches the beginnings of the next pages, once a page. How many of the `left` blocks lie before the next
  // time.
  std::size_t fetch_pages(std::size_t left) {
    if (at % kPageBytes == 0)
      for (const std::byte* const panel : w) {
        const std::byte* const page_ahead = panel + at + beyond(kPageBytes);
        const std::size_t into_page = reinterpret_cast<std::uintptr_t>(page_ahead) % kPageBytes;
        for (std::size_t line = 0; line < kLinesOfPage; ++line)
          prefetch_into_l2(page_ahead - into_page + line * kLineBytes);
      }
    const std::size_t rest = (kPageBytes - at % kPageBytes) / kVecBytes;
    return rest < left ? rest : left;
  }
};

// f(i, v, activations, weights) for every product of one block.
template <class Form, std::size_t M, std::size_t V, class F>
[[gnu::always_inline]] inline void for_block(Operands<V>& from, F f) {
  constexpr auto vecs = std::make_index_sequence<V>{};
  VecI raw[V];
  unroll(vecs, [&](auto v) { raw[v] = load_ints(from.w[v] + from.at); });
  if constexpr (kFetchesLines<Form, M>) {
    unroll(vecs, [&](auto v) { prefetch_into_l2(from.w[v] + from.at + from.ahead); });
    // Where a line is two vectors, a second instruction for each costs too much.
    if constexpr (kVecBytes == 64) unroll(vecs, [&](auto v) { prefetch_bytes(from.w[v] + from.at + kNear); });
  }
  unroll(std::make_index_sequence<Form::kUnits>{}, [&](auto p) {
    VecI operand[V];
    unroll(vecs, [&](auto v) { operand[v] = Form::template operand<p>(raw[v]); });
    unroll(std::make_index_sequence<M>{}, [&](auto i) {
      const VecI x(from.a[p * M + i]);
      unroll(vecs, [&](auto v) { f(i, v, x, operand[v]); });
    });
  });
  from.a += Form::kUnits * M;
  from.at += kVecBytes;
}

template <class Form, std::size_t M, std::size_t V>
[[gnu::always_inline]] inline void accumulate(std::size_t blocks, Operands<V>& from, VecI (&acc)[M][V]) {
#pragma GCC unroll 8
  for (; blocks > 0; --blocks)
    for_block<Form, M>(from, [&](auto i, auto v, VecI a, VecI w) { acc[i][v] = Form::add(acc[i][v], a, w); });
}

#if defined(__AVX512VNNI__)
// One or two bits by one row: of each half of a byte the planes are masked but not shifted, and their sums,
// multiples of a power of two, are shifted instead: two instructions for 64 products, and an eighth or a
// quarter of a shift. Those of two bits get as large as 255 x 12 for every other code, which
// PackedMatrix::max_k, 255 x 3 x 2 for every code, leaves room for; those of one bit, 255 x 8 for every
// fourth, are smaller.
template <class Form, std::size_t M, std::size_t V>
requires(kSumsByPlane<Form, M>)
    [[gnu::always_inline]] inline void accumulate(std::size_t blocks, Operands<V>& from, VecI (&acc)[M][V]) {
  constexpr int kBits = 8 / static_cast<int>(Form::kUnits);
  constexpr std::size_t kPlanes = 4 / kBits;
  constexpr auto vecs = std::make_index_sequence<V>{};
  constexpr auto planes = std::make_index_sequence<kPlanes>{};
  VecI sum[kPlanes][V];
  unroll(planes, [&](auto p) { unroll(vecs, [&](auto v) { sum[p][v] = VecI(0); }); });
  for (; blocks > 0; --blocks, from.a += Form::kUnits, from.at += kVecBytes) {
    VecI raw[V];
    unroll(vecs, [&](auto v) { raw[v] = load_ints(from.w[v] + from.at); });
    unroll(vecs, [&](auto v) { prefetch_into_l2(from.w[v] + from.at + from.ahead); });
    unroll(std::make_index_sequence<2>{}, [&](auto half) {
      if constexpr (half == 1) unroll(vecs, [&](auto v) { raw[v] = raw[v] >> 4; });
      unroll(planes, [&](auto p) {
        constexpr std::uint32_t kLowest = kBits == 1 ? 0x01010101u : 0x03030303u;
        const VecI a(from.a[half * kPlanes + p]), mask(static_cast<std::int32_t>(kLowest << (kBits * p)));
        unroll(vecs, [&](auto v) { sum[p][v] = dot4(sum[p][v], a, raw[v] & mask); });
      });
    });
  }
  unroll(vecs, [&](auto v) {
    if constexpr (kBits == 1)  // a bit stands for the byte 2
      acc[0][v] = acc[0][v] + (sum[0][v] << 1) + sum[1][v] + (sum[2][v] >> 1) + (sum[3][v] >> 2);
    else
      acc[0][v] = acc[0][v] + sum[0][v] + (sum[1][v] >> 2);
  });
}
#endif

#if defined(NIBBLE_HAS_PAIRS)
// The sums of int16 have the registers; those of int32 wait in memory.
template <class Form, std::size_t M, std::size_t V>
requires(Form::kBlocks > 0)
    [[gnu::always_inline]] inline void accumulate(std::size_t blocks, Operands<V>& from, VecI (&acc)[M][V]) {
  constexpr auto rows = std::make_index_sequence<M>{};
  constexpr auto vecs = std::make_index_sequence<V>{};
  alignas(64) std::int32_t memory[M][V][kLanes];
  auto* total = memory;
  asm("" : "+r"(total));  // else GCC keeps them in registers after all
  unroll(rows, [&](auto i) { unroll(vecs, [&](auto v) { store_ints(total[i][v], acc[i][v]); }); });
  while (blocks > 0) {
    const std::size_t count = blocks < Form::kBlocks ? blocks : Form::kBlocks;
    VecI sum[M][V];
    unroll(rows, [&](auto i) { unroll(vecs, [&](auto v) { sum[i][v] = VecI(0); }); });
#pragma GCC unroll 4
    for (std::size_t b = 0; b < count; ++b)
      for_block<Form, M>(from, [&](auto i, auto v, VecI a, VecI w) {
        sum[i][v] = add_pairs(sum[i][v], pairs(a, w));
        in_order(sum[i][v]);
      });
    unroll(rows, [&](auto i) {
      unroll(vecs, [&](auto v) { store_ints(total[i][v], widen(load_ints(total[i][v]), sum[i][v])); });
    });
    blocks -= count;
  }
  unroll(rows, [&](auto i) { unroll(vecs, [&](auto v) { acc[i][v] = load_ints(total[i][v]); }); });
}

// Row by row: the weights of four units stay in registers, and the sums of int16 of one row only.
template <class Form, std::size_t M, std::size_t V>
requires(Form::kDeferred > 0)
    [[gnu::always_inline]] inline void accumulate(std::size_t blocks, Operands<V>& from, VecI (&acc)[M][V]) {
  constexpr auto vecs = std::make_index_sequence<V>{};
  constexpr auto units = std::make_index_sequence<Form::kDeferred>{};
  for (; blocks >= Form::kDeferred; blocks -= Form::kDeferred) {
    VecI w[Form::kDeferred][V];
    unroll(units, [&](auto u) {
      unroll(vecs, [&](auto v) { w[u][v] = load_ints(from.w[v] + from.at + u * kVecBytes); });
    });
    unroll(std::make_index_sequence<M>{}, [&](auto i) {
      VecI sum[V];
      unroll(units, [&](auto u) {
        const VecI a(from.a[u * M + i]);
        unroll(vecs, [&](auto v) {
          const VecI product = pairs(a, w[u][v]);
          sum[v] = u == 0 ? product : add_pairs(sum[v], product);
        });
      });
      unroll(vecs, [&](auto v) { acc[i][v] = widen(acc[i][v], sum[v]); });
    });
    from.a += Form::kDeferred * M;
    from.at += Form::kDeferred * kVecBytes;
  }
  for (; blocks > 0; --blocks)
    for_block<Form, M>(from,
                       [&](auto i, auto v, VecI a, VecI w) { acc[i][v] = widen(acc[i][v], pairs(a, w)); });
}
#endif

// ---- Tiles.

template <std::size_t M, std::size_t V>
[[gnu::always_inline]] inline void start(const std::int32_t* init, VecI (&acc)[M][V]) {
  unroll(std::make_index_sequence<M>{}, [&](auto i) {
    const VecI x(init[i]);
    unroll(std::make_index_sequence<V>{}, [&](auto v) { acc[i][v] = x; });
  });
}

template <std::size_t V>
Operands<V> operands(const QGemmTile& t, std::size_t panel, std::size_t panel_bytes) {
  Operands<V> from{reinterpret_cast<const std::int32_t*>(t.a), {}, panel_bytes, t.panel_stride};
  for (std::size_t v = 0; v < V; ++v) from.w[v] = t.w + (panel + v) * t.panel_stride;
  return from;
}

// Panels [panel, panel + V) of the tile. All of k is one group where scales are not per group.
template <class Form, std::size_t M, std::size_t V>
void run_panels(const QGemmTile& t, std::size_t panel) {
  constexpr auto rows = std::make_index_sequence<M>{};
  constexpr auto vecs = std::make_index_sequence<V>{};
  const std::size_t blocks = divide_up(divide_up(t.k, 4) * 4, Form::kCodes),  // whole quads, also of int16

      blocks_per_group = t.group == 0 ? blocks : t.group / Form::kCodes;
  const float* scale = t.group_scale + panel * t.group_scale_stride;
  const std::int32_t* init = t.init;
  Operands<V> from = operands<V>(t, panel, blocks * kVecBytes);
  for (std::size_t done = 0; done < blocks; done += blocks_per_group, init += M) {
    VecI acc[M][V];
    start(init, acc);
    std::size_t left = blocks - done < blocks_per_group ? blocks - done : blocks_per_group;
    while (left > 0) {
      std::size_t part = left;
      if constexpr (kFetchesLines<Form, M>) part = from.fetch_lines(left);
      if constexpr (kFetchesPages<Form, M>) part = from.fetch_pages(left);
      accumulate<Form>(part, from, acc);
      left -= part;
    }
    if (t.group == 0) {
      std::int32_t* const out = t.acc + panel * kLanes;
      unroll(rows, [&](auto i) {
        unroll(vecs, [&](auto v) { store_ints(out + i * t.row_stride + v * kLanes, acc[i][v]); });
      });
      return;
    }
    // The float sums stay in memory: there are registers for one set of accumulators.
    float* const out = t.sum + panel * kLanes;
    unroll(vecs, [&](auto v) {
      const VecF s = load(scale + v * t.group_scale_stride);
      unroll(rows, [&](auto i) {
        float* const sum = out + i * t.row_stride + v * kLanes;
        store(sum, fma(to_float(acc[i][v]), s, done == 0 ? VecF(0.0f) : load(sum)));
      });
    });
    scale += kLanes;
  }
}

#if defined(__AVX512VNNI__)
// The same for bytes by bytes, from rows that were not packed. Every third row has a pointer: an address adds
// a stride or two to it, and there are not as many registers as rows.
template <std::size_t M, std::size_t V>
void run_panels_of_rows(const QGemmTile& t, std::size_t panel) {
  constexpr auto rows = std::make_index_sequence<M>{};
  constexpr auto vecs = std::make_index_sequence<V>{};
  constexpr auto bases = std::make_index_sequence<(M + 2) / 3>{};
  const std::size_t stride = t.a_stride;
  const std::byte* base[(M + 2) / 3];
  const std::byte* w[V];
  unroll(bases, [&](auto b) { base[b] = t.a + 3 * b * stride; });
  unroll(vecs, [&](auto v) { w[v] = t.w + (panel + v) * t.panel_stride; });
  VecI acc[M][V];
  start(t.init, acc);
  std::int32_t* const out = t.acc + panel * kLanes;
  // A row of the result is fetched before each of M parts of k. Left to the stores at the end, lines from
  // beyond L2 hold the buffers through which the next tile gets its rows.
  const std::size_t all = t.k / 4, part = all / M;
  for (std::size_t i = 0; i < M; ++i) {
    unroll(vecs, [&](auto v) { prefetch_bytes(out + i * t.row_stride + v * kLanes); });
    std::size_t blocks = i + 1 < M ? part : all - i * part;
#pragma GCC unroll 4
    for (; blocks > 0; --blocks) {
      VecI operand[V];
      unroll(vecs, [&](auto v) {
        operand[v] = load_ints(w[v]);
        w[v] += kVecBytes;
      });
      unroll(rows, [&](auto i) {
        std::int32_t quad;
        std::memcpy(&quad, base[i / 3] + i % 3 * stride, sizeof quad);
        const VecI x(quad);
        unroll(vecs, [&](auto v) { acc[i][v] = dot4(acc[i][v], x, operand[v]); });
      });
      unroll(bases, [&](auto b) { base[b] += 4; });
    }
  }
  unroll(rows, [&](auto i) {
    unroll(vecs, [&](auto v) { store_ints(out + i * t.row_stride + v * kLanes, acc[i][v]); });
  });
}

template <std::size_t M>
void run_in_place(const QGemmTile& t) {
  std::size_t panel = 0;
  if constexpr (M <= kMaxRows / 3)
    for (; panel + 4 <= t.panels; panel += 4) run_panels_of_rows<M, 4>(t, panel);
  for (; panel + 2 <= t.panels; panel += 2) run_panels_of_rows<M, 2>(t, panel);
  if (panel < t.panels) run_panels_of_rows<M, 1>(t, panel);
}

bool takes_rows(int weight_bits, WeightForm form) noexcept {
  return weight_bits == 8 || form == WeightForm::bytes;
}
#endif

// As many panels at a time as the registers hold.
template <class Form, std::size_t M>
void run_rows(const QGemmTile& t) {
  std::size_t panel = 0;
  if constexpr (M <= kMaxRows / 3)
    for (; panel + 4 <= t.panels; panel += 4) run_panels<Form, M, 4>(t, panel);
  for (; panel + 2 <= t.panels; panel += 2) run_panels<Form, M, 2>(t, panel);
  if (panel < t.panels) run_panels<Form, M, 1>(t, panel);
}

// For the heights that kRowCounts has from `First` to `Last`.
template <class Form, std::size_t First, std::size_t Last>
void run_form(const QGemmTile& t) {
  unroll(std::make_index_sequence<std::size(kRowCounts) - 1>{}, [&](auto i) {
    constexpr std::size_t kRows = kRowCounts[i];
    if constexpr (First <= kRows && kRows <= Last)
      if (t.rows == kRows) run_rows<Form, kRows>(t);
  });
}

template <int Bits, int Origin, std::size_t First, std::size_t Last>
void run_bytes(const QGemmTile& t) {
#if defined(NIBBLE_HAS_PAIRS)
  if (t.act_bits <= 2) return run_form<NarrowSums<Bits, Origin, 3>, First, Last>(t);
  if (t.act_bits <= 4) return run_form<NarrowSums<Bits, Origin, 15>, First, Last>(t);
  if constexpr (Bits == 8 && Origin == 4) return run_form<FourPairs, First, Last>(t);
  if constexpr (Origin < 8) return run_form<NarrowSums<Bits, Origin, 255>, First, Last>(t);
  if (t.fits_int16) return run_form<ProvedPairs, First, Last>(t);
#endif
  run_form<Exact<Bits>, First, Last>(t);
}

// Weights of fewer than 8 bits are taken as packed by a few rows only: see best_form.
template <int Bits>
void run_low_bits(const QGemmTile& t) {
  t.form == WeightForm::packed ? run_bytes<Bits, Bits, 1, kFewRows>(t)
                               : run_bytes<8, Bits, kFewRows, kMaxRows>(t);
}

void run(const QGemmTile& t) noexcept {
#if defined(__AVX512VNNI__)
  if (t.a_stride != 0) {
    unroll(std::make_index_sequence<std::size(kRowCounts) - 1>{}, [&](auto i) {
      if (t.rows == kRowCounts[i]) run_in_place<kRowCounts[i]>(t);
    });
    return;
  }
#endif
#if defined(NIBBLE_HAS_WORDS)
  if (t.form == WeightForm::words) return run_form<Words, kFewRows, kMaxRows>(t);
#endif
  switch (t.weight_bits) {
    case 1:
      return run_low_bits<1>(t);
    case 2:
      return run_low_bits<2>(t);
    case 4:
      return run_low_bits<4>(t);
    default:
      return run_bytes<8, 8, 1, kMaxRows>(t);
  }
}

// Unpacking costs an instruction or two for every vector in every tile; beyond a few rows the expanded copy,
// made once for all tiles, is cheaper. Exact products of bytes without dot instructions are better off with
// int16, 8 bits included.
WeightForm best_form(int bits, bool fits_int16, std::size_t tile_rows, std::size_t tiles) noexcept {
  if (tile_rows < kFewRows || tile_rows * tiles <= kFewRows) return WeightForm::packed;
#if defined(NIBBLE_HAS_PAIRS)
  if (bits == 8 && !fits_int16) return WeightForm::words;
#elif defined(NIBBLE_HAS_WORDS)
  return WeightForm::words;
#endif
  static_cast<void>(fits_int16);
  return bits == 8 ? WeightForm::packed : WeightForm::bytes;
}

}  // namespace

extern const QGemmKernels dot_kernels = {
    .lanes = kLanes,
    .max_panels = kMaxPanels,
    .row_counts = kRowCounts,
    .least_expanded_rows = kFewRows,
    .signed_activations = kSignedActivations,
    .panel_bytes = panel_bytes,
    .row_bytes = row_bytes,
    .pack_panel = pack_panel,
    .unpack_panel = unpack_panel,
    .pack_rows = pack_rows,
    .best_form = best_form,
    .expanded_bytes = expanded_bytes,
    .expand_panel = expand_panel,
    .run = run,
#if defined(__AVX512VNNI__)
    .takes_rows = takes_rows,
#endif
};

}  // namespace nibble::quant::NIBBLE_TIER
