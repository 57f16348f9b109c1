#include "tensor/kernels/gemm.h"

#include <utility>

#include "tensor/kernels/pack.h"
#include "tensor/kernels/turned_tiles.h"
#include "tensor/simd/vec.h"

namespace nibble::NIBBLE_TIER {
namespace {

// The accumulators, one row of b and one broadcast element of a fill the register file.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr std::size_t kRows = 14;
constexpr bool kFetchesResult = true;
#else
constexpr std::size_t kRows = 6;
constexpr bool kFetchesResult = false;  // its address costs a register that is not there: 10 % slower
#endif
constexpr std::size_t kVecs = 2;
// Of tiles at least so deep the next one's rows of c are fetched on the way, a row in every part of k: taken
// all at once, lines from beyond L2 hold the buffers through which a and b come.
constexpr std::size_t kLeastDepthToFetch = 32;

constexpr std::size_t kLine = 64 / sizeof(float);  // of the cache

// Elements of a in one column of the tile. Unit row stride: packed, or stored by columns.
template <std::size_t M>
struct UnitRows {
  const float* p;
  std::ptrdiff_t k_stride;

  UnitRows(const GemmTiles& t, const float* a)
      : p(a), k_stride(t.a_packed ? static_cast<std::ptrdiff_t>(M) : t.a_k) {}
  template <std::size_t I>
  float get() const {
    return p[I];
  }
  void next() { p += k_stride; }
};

// One pointer for every four rows: a pointer a row would not fit into the registers.
template <std::size_t M>
struct StridedRows {
  const float* p[(M + 3) / 4];
  std::ptrdiff_t row, row3, k_stride;

  StridedRows(const GemmTiles& t, const float* a) : row(t.a_row), row3(3 * t.a_row), k_stride(t.a_k) {
    unroll(std::make_index_sequence<(M + 3) / 4>{},
           [&](auto i) { p[i] = a + static_cast<std::ptrdiff_t>(4 * i) * row; });
  }
  template <std::size_t I>
  float get() const {
    return p[I / 4][I % 4 == 3 ? row3 : static_cast<std::ptrdiff_t>(I % 4) * row];
  }
  void next() {
    unroll(std::make_index_sequence<(M + 3) / 4>{}, [&](auto i) {
      p[i] += k_stride;
      asm("" : "+r"(p[i]));  // or GCC adds them as a vector, which then goes through memory
    });
  }
};

// Which rows of b a tile fetches: one every step into L1, or one in as many steps as there are tiles that do
// so, into L2, where they outlive the other tiles and do not push the panel in use out of L1.
enum class Fetch { none, all, share };

// The tile whose first row of a, of c and of the bias these are, and of its share of what is fetched.
template <std::size_t M, std::size_t V, template <std::size_t> class Rows, Fetch F>
void run_tile(const GemmTiles& t, const float* first_a, float* c, const float* row_bias, const float* next_c,
              const float* share) {
  constexpr auto rows = std::make_index_sequence<M>{};
  constexpr auto vecs = std::make_index_sequence<V>{};
  constexpr auto lines = std::make_index_sequence<(V * kLanes + kLine - 1) / kLine>{};
  VecF acc[M][V];
  const std::size_t tail = t.cols - (V - 1) * kLanes;  // columns in the last vector
  const auto load_columns = [&](const float* p, std::size_t v) {
    return v + 1 < V || tail == kLanes ? load(p + v * kLanes) : load_partial(p + v * kLanes, tail);
  };
  const auto row_of_c = [&](std::size_t i) { return c + static_cast<std::ptrdiff_t>(i) * t.c_row; };
  unroll(rows, [&](auto i) { unroll(vecs, [&](auto v) { acc[i][v] = VecF(0.0f); }); });
  if (t.accumulate)
    unroll(rows, [&](auto i) { unroll(vecs, [&](auto v) { acc[i][v] = load_columns(row_of_c(i), v); }); });
  Rows<M> a(t, first_a);
  const float* b = t.b;
  std::size_t left = t.fetchers;
  const std::size_t parts = kFetchesResult && t.k >= kLeastDepthToFetch ? M : 1, part = t.k / parts;
  for (std::size_t i = 0; i < parts; ++i, next_c += t.c_row) {
    if (parts > 1) unroll(lines, [&](auto l) { prefetch_line(next_c + l * kLine); });
#pragma GCC unroll 2
    for (std::size_t p = i + 1 < parts ? part : t.k - i * part; p > 0; --p) {
      VecF row[V];
      unroll(vecs, [&](auto v) { row[v] = load(b + v * kLanes); });
      if constexpr (F == Fetch::all) unroll(lines, [&](auto l) { prefetch_line(b + t.b_ahead + l * kLine); });
      if constexpr (F == Fetch::share) {
        unroll(lines, [&](auto l) { prefetch_into_l2(share + l * kLine); });
        if (--left == 0) left = t.fetchers, share += t.b_k;
      }
      unroll(rows, [&](auto i) {
        const VecF x(a.template get<i>());
        unroll(vecs, [&](auto v) { acc[i][v] = fma(x, row[v], acc[i][v]); });
      });
      a.next();
      b += t.b_k;
    }
  }
  // It waited in memory: GCC likes to keep it in a vector register, whence it returns after the last product.
  asm("" : "+m"(c));

  if (row_bias != nullptr)
    unroll(rows, [&](auto i) {
      const VecF bias(row_bias[i]);
      unroll(vecs, [&](auto v) { acc[i][v] = acc[i][v] + bias; });
    });
  if (t.col_bias != nullptr)
    unroll(vecs, [&](auto v) {
      const VecF bias = load_columns(t.col_bias, v);
      unroll(rows, [&](auto i) { acc[i][v] = acc[i][v] + bias; });
    });
  if (t.relu)
    unroll(rows, [&](auto i) {
      unroll(vecs, [&](auto v) { acc[i][v] = select(acc[i][v] <= VecF(0.0f), VecF(0.0f), acc[i][v]); });
    });
  if (tail == kLanes)
    unroll(rows, [&](auto i) { unroll(vecs, [&](auto v) { store(row_of_c(i) + v * kLanes, acc[i][v]); }); });
  else
    unroll(rows, [&](auto i) {
      unroll(vecs, [&](auto v) {
        float* const to = row_of_c(i) + v * kLanes;
        v + 1 < V ? store(to, acc[i][v]) : store_partial(to, acc[i][v], tail);
      });
    });
}

// `count` tiles of the first panel. A share of what they fetch has so many elements.
template <std::size_t M, std::size_t V, template <std::size_t> class Rows>
void run_tiles(const GemmTiles& t, std::size_t first_row, std::size_t count, std::ptrdiff_t share) {
  // Nothing lies behind a narrow panel.
  constexpr Fetch kAll = V < kVecs ? Fetch::none : Fetch::all,
                  kShare = V < kVecs ? Fetch::none : Fetch::share;
  const auto height = static_cast<std::ptrdiff_t>(t.tall * t.rows + t.low * (t.rows - 1));
  for (std::size_t i = 0; i < count; ++i) {
    const auto row = static_cast<std::ptrdiff_t>(first_row + i * M),
               below = row + static_cast<std::ptrdiff_t>(M);
    float* const c = t.c + row * t.c_row;
    const std::size_t tile = i + (first_row > 0 ? t.tall : 0);
    const auto kernel = tile >= t.fetchers ? run_tile<M, V, Rows, Fetch::none>
                        : t.fetchers == 1  ? run_tile<M, V, Rows, kAll>
                                           : run_tile<M, V, Rows, kShare>;
    kernel(t, t.a + row * t.a_row, c, t.row_bias == nullptr ? nullptr : t.row_bias + row,
           below < height ? t.c + below * t.c_row : t.c + V * kLanes,
           t.b + t.b_ahead + static_cast<std::ptrdiff_t>(tile) * share);
  }
}

using Tiles = void (*)(const GemmTiles&, std::size_t first_row, std::size_t count, std::ptrdiff_t share);

template <std::size_t V, template <std::size_t> class Rows, std::size_t... M>
Tiles pick(std::size_t rows, std::index_sequence<M...>) {
  static constexpr Tiles kTiles[] = {nullptr, run_tiles<M + 1, V, Rows>...};
  return kTiles[rows];
}

template <std::size_t V, template <std::size_t> class Rows>
void run_panels(GemmTiles t) {
  constexpr auto all = std::make_index_sequence<kRows>{};
  const Tiles tall = pick<V, Rows>(t.rows, all), low = pick<V, Rows>(t.rows - 1, all);
  const std::ptrdiff_t share = t.fetchers == 0 ? 0 : static_cast<std::ptrdiff_t>(t.k / t.fetchers) * t.b_k;
  for (; t.panels > 0; --t.panels) {
    tall(t, 0, t.tall, share);
    if (t.low > 0) low(t, t.tall * t.rows, t.low, share);
    t.b += t.b_panel;
    t.c += t.cols;
    if (t.col_bias != nullptr) t.col_bias += t.cols;
  }
}

void run(const GemmTiles& t) noexcept {
  const bool narrow = t.cols <= kLanes;
  if (t.a_packed || t.a_row == 1)
    (narrow ? run_panels<1, UnitRows> : run_panels<kVecs, UnitRows>)(t);
  else
    (narrow ? run_panels<1, StridedRows> : run_panels<kVecs, StridedRows>)(t);
}

}  // namespace

extern const GemmKernels gemm_kernels = {
    .lanes = kLanes,
    .rows = kRows,
    .cols = kVecs * kLanes,
    .run = run,
    .turned_cols = kTurnedCols,
    .run_turned = run_turned,
    .pack = pack,
};

}  // namespace nibble::NIBBLE_TIER
