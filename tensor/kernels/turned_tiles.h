#pragma once

// Products with few columns; part of gemm.cpp, see GemmKernels::run_turned.

#include <utility>

#include "tensor/kernels/gemm.h"
#include "tensor/simd/transpose.h"

namespace nibble::NIBBLE_TIER {
namespace {

// Beside the sums, four columns of a and what turns them are in registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr std::size_t kTurnedCols = 16;
#else
constexpr std::size_t kTurnedCols = 10;
#endif

template <std::size_t N>
[[gnu::flatten]] void run_turned_tiles(const TurnedTiles& t) {
  constexpr auto columns = std::make_index_sequence<N>{};
  const std::size_t k = t.k, a_row = t.a_row;  // a store might change t, for all the compiler knows
  const std::ptrdiff_t b_k = t.b_k;
  for (std::size_t tile = 0; tile < t.tiles; ++tile) {
    const std::size_t row = tile * kLanes;
    const float* const a = t.a + row * a_row;
    const float* b = t.b;
    VecF acc[N];
    unroll(columns, [&](auto j) { acc[j] = VecF(0.0f); });
    const auto add_column = [&](VecF x) {
      unroll(columns, [&](auto j) { acc[j] = fma(x, VecF(b[j]), acc[j]); });
      b += b_k;
    };
    std::size_t p = 0;
    for (; p + 4 <= k; p += 4) {
      const auto x = turn_rows(a + p, a_row);
      const VecF column[] = {x.template get<0>(), x.template get<1>(), x.template get<2>(),
                             x.template get<3>()};
      unroll(std::make_index_sequence<4>{}, [&](auto i) { add_column(column[i]); });
    }
    if (const std::size_t left = k - p; left > 0) {
      const auto x = turn_rows(a + k - 4, a_row);
      if (left > 2) add_column(x.template get<1>());
      if (left > 1) add_column(x.template get<2>());
      add_column(x.template get<3>());
    }

    if (t.row_bias != nullptr) {
      const VecF bias = load(t.row_bias + row);
      unroll(columns, [&](auto j) { acc[j] = acc[j] + bias; });
    }
    if (t.col_bias != nullptr) unroll(columns, [&](auto j) { acc[j] = acc[j] + VecF(t.col_bias[j]); });
    if (t.relu) unroll(columns, [&](auto j) { acc[j] = select(acc[j] <= VecF(0.0f), VecF(0.0f), acc[j]); });
    float* c = t.c + row;
    unroll(columns, [&](auto j) { store(c, acc[j]), c += t.c_col; });
  }
}

template <std::size_t... N>
void run_turned(const TurnedTiles& t, std::index_sequence<N...>) {
  using Run = void (*)(const TurnedTiles&);
  static constexpr Run kRun[] = {run_turned_tiles<N + 1>...};
  kRun[t.cols - 1](t);
}

void run_turned(const TurnedTiles& t) noexcept { run_turned(t, std::make_index_sequence<kTurnedCols>{}); }

}  // namespace
}  // namespace nibble::NIBBLE_TIER
