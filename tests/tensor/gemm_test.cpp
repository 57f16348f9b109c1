#include "tensor/gemm.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <random>
#include <vector>

#include "tensor/kernels/gemm.h"
#include "tests/support/catch.h"
#include "tests/support/guarded_buffer.h"

using namespace nibble;
using nibble::test::GuardedBuffer;

namespace {

using Index = std::int64_t;

// A matrix in a buffer that ends at a page without access.
struct Matrix {
  Index rows, cols, row_stride, col_stride;
  GuardedBuffer<float> buffer;

  // `gap` more elements than needed lie between two lines.
  Matrix(Index m, Index n, bool by_cols, Index gap)
      : rows(m),
        cols(n),
        row_stride(by_cols ? 1 : n + gap),
        col_stride(by_cols ? m + gap : 1),
        buffer(m * n == 0 ? 0 : static_cast<std::size_t>((m - 1) * row_stride + (n - 1) * col_stride + 1)) {}

  void fill(std::mt19937& rng) {
    std::uniform_real_distribution<float> value(-1, 1);
    for (float& each : buffer) each = value(rng);
  }
  MatrixRef<float> ref() { return {buffer.data(), row_stride, col_stride}; }
  MatrixRef<const float> view() const { return {buffer.data(), row_stride, col_stride}; }
  float at(Index i, Index j) const {
    return buffer[static_cast<std::size_t>(i * row_stride + j * col_stride)];
  }
};

struct Case {
  Index m, n, k;
  unsigned layout;  // bit 0 to 2: a, b, c by columns
  Index gap;
  bool accumulate = false, bias = false, relu = false;
};

void check(const GemmKernels& kernels, const Case& t, std::mt19937& rng) {
  INFO(t.m << 'x' << t.n << 'x' << t.k << " layout " << t.layout << " gap " << t.gap << " accumulate "
           << t.accumulate << " bias " << t.bias);
  Matrix a(t.m, t.k, t.layout & 1, t.gap), b(t.k, t.n, t.layout & 2, t.gap), c(t.m, t.n, t.layout & 4, t.gap);
  a.fill(rng), b.fill(rng), c.fill(rng);
  GuardedBuffer<float> row_bias(static_cast<std::size_t>(t.m)), col_bias(static_cast<std::size_t>(t.n));
  for (float& each : row_bias) each = 0.25f * static_cast<float>(&each - row_bias.data() + 1);
  for (float& each : col_bias) each = -0.5f * static_cast<float>(&each - col_bias.data() + 1);

  std::vector<double> expected(static_cast<std::size_t>(t.m * t.n));
  for (Index i = 0; i < t.m; ++i)
    for (Index j = 0; j < t.n; ++j) {
      double sum = t.accumulate ? c.at(i, j) : 0;
      for (Index p = 0; p < t.k; ++p)
        sum += static_cast<double>(a.at(i, p)) * static_cast<double>(b.at(p, j));
      if (t.bias)
        sum += static_cast<double>(row_bias[static_cast<std::size_t>(i)]) +
               static_cast<double>(col_bias[static_cast<std::size_t>(j)]);
      expected[static_cast<std::size_t>(i * t.n + j)] = t.relu ? std::max(sum, 0.0) : sum;
    }
  const std::vector<float> before(c.buffer.begin(), c.buffer.end());
  gemm(kernels, t.m, t.n, t.k, a.view(), b.view(), c.ref(),
       {.accumulate = t.accumulate,
        .row_bias = t.bias ? row_bias.data() : nullptr,
        .col_bias = t.bias ? col_bias.data() : nullptr,
        .relu = t.relu});

  double worst = 0;
  for (Index i = 0; i < t.m; ++i)
    for (Index j = 0; j < t.n; ++j) {
      const double e = expected[static_cast<std::size_t>(i * t.n + j)];
      // Products are below 1: a sum of k of them is off by at most k roundings of a value below k.
      const double bound =
          6e-8 * (static_cast<double>(t.k) * std::sqrt(static_cast<double>(t.k)) + 4 + 4 * std::abs(e));
      worst = std::max(worst, std::abs(static_cast<double>(c.at(i, j)) - e) / bound);
    }
  REQUIRE(worst <= 1);
  // What lies between the lines of c is not ours.
  const Index line = t.layout & 4 ? t.m : t.n, step = line + t.gap;
  Index touched = 0;
  for (std::size_t i = 0; i < before.size(); ++i)
    touched += static_cast<Index>(i) % step >= line && before[i] != c.buffer[i];
  REQUIRE(touched == 0);
}

}  // namespace

TEST_CASE("gemm agrees with the sum in float64 for every small size, on every tier", "[tiers]") {
  for (Isa isa : supported_isas()) {
    INFO(name_of(isa));
    std::mt19937 rng(1);
    for (Index m = 1; m <= 17; ++m)
      for (Index n = 1; n <= 17; ++n)
        for (Index k = 0; k <= 17; k += k < 5 ? 1 : 4)
          check(gemm_kernels(isa),
                {m, n, k, static_cast<unsigned>(m + 3 * n + 5 * k) % 8, (m + k) % 2 * 3, (n + k) % 3 == 0,
                 (m + n) % 2 == 0, k % 2 == 0},
                rng);
  }
}

TEST_CASE("gemm at the borders of tiles and cache blocks, on every tier", "[tiers]") {
  for (Isa isa : supported_isas()) {
    INFO(name_of(isa));
    std::mt19937 rng(2);
    for (unsigned layout = 0; layout < 8; ++layout)
      for (const auto& [m, n, k] : std::vector<std::array<Index, 3>>{{64, 10, 784},
                                                                     {64, 784, 10},
                                                                     {10, 784, 64},
                                                                     {8, 2100, 9},
                                                                     {255, 33, 257},
                                                                     {31, 65, 512},
                                                                     {253, 131, 40},
                                                                     {1, 200, 300},
                                                                     {200, 1, 300},
                                                                     {1, 1, 1000},
                                                                     {20, 300, 600},
                                                                     {32, 33, 256},
                                                                     {20, 300, 80},
                                                                     {20, 300, 81},
                                                                     {64, 65, 64},
                                                                     {33, 1024, 70},
                                                                     {7, 50, 4100},
                                                                     {50, 14, 4100}})
        check(gemm_kernels(isa), {m, n, k, layout, layout % 3, layout % 2 == 0, layout > 3, layout % 4 == 1},
              rng);
  }
}

TEST_CASE("gemm of a few columns or rows by an operand that lies along k, on every tier", "[tiers]") {
  for (Isa isa : supported_isas()) {
    INFO(name_of(isa));
    const GemmKernels& kernels = gemm_kernels(isa);
    const auto lanes = static_cast<Index>(kernels.lanes);
    std::mt19937 rng(5);
    for (Index few = 1; few <= 18; ++few)
      for (const Index many : {lanes, lanes + 1, Index{70}})
        for (const Index k : {3, 4, 5, 6, 7, 41})
          for (unsigned layout = 0; layout < 8; ++layout) {
            const bool bias = (few + k) % 2 == 0;
            if ((layout & 1) == 0)
              check(kernels, {many, few, k, layout, k % 3, false, bias, k % 4 == 1}, rng);
            if ((layout & 2) != 0)
              check(kernels, {few, many, k, layout, k % 3, false, bias, k % 4 == 1}, rng);
          }
  }
}

TEST_CASE("gemm of operands whose rows are whole pages apart, on every tier", "[tiers]") {
  for (Isa isa : supported_isas()) {
    INFO(name_of(isa));
    std::mt19937 rng(6);
    for (unsigned layout = 0; layout < 8; ++layout)
      for (const auto& [m, n, k] : std::vector<std::array<Index, 3>>{
               {16, 1000, 150}, {17, 1000, 70}, {40, 12, 1000}, {12, 40, 1000}, {15, 14, 1000}}) {
        const bool accumulate = (m + layout) % 2 == 0;
        check(gemm_kernels(isa),
              {m, n, k, layout, 1024 - std::max({m, n, k}), accumulate, layout > 3, layout % 4 == 1}, rng);
      }
  }
}

TEST_CASE("an element has the same bits wherever it lies and however the operands are stored", "[tiers]") {
  const Index m = 61, n = 75, k = 300;
  for (Isa isa : supported_isas()) {
    INFO(name_of(isa));
    const GemmKernels& kernels = gemm_kernels(isa);
    std::mt19937 rng(3);
    Matrix a(m, k, false, 0), b(k, n, false, 0), c(m, n, false, 0);
    a.fill(rng), b.fill(rng);
    gemm(kernels, m, n, k, a.view(), b.view(), c.ref());
    std::vector<float> turned(static_cast<std::size_t>(m * n));
    gemm(kernels, m, n, k, a.view(), b.view(), {turned.data(), 1, m});
    Index different = 0;
    for (Index i = 0; i < m; ++i)
      for (Index j = 0; j < n; ++j) different += c.at(i, j) != turned[static_cast<std::size_t>(j * m + i)];
    CHECK(different == 0);
    Matrix b_by_cols(k, n, true, 2);
    for (Index p = 0; p < k; ++p)
      for (Index j = 0; j < n; ++j) b_by_cols.ref().data[p + j * b_by_cols.col_stride] = b.at(p, j);
    for (const Index rows : {Index{1}, Index{4}, Index{5}, Index{8}, Index{9}, m}) {
      Matrix d(rows, n, false, 0);
      gemm(kernels, rows, n, k, a.view(), b_by_cols.view(), d.ref());
      for (Index i = 0; i < rows; ++i)
        for (Index j = 0; j < n; ++j) different += c.at(i, j) != d.at(i, j);
    }
    CHECK(different == 0);
    for (Index i = 0; i < m; i += 7)
      for (Index j = 0; j < n; j += 5) {
        float one = 0;
        const MatrixRef<const float> ra{a.buffer.data() + i * k, k, 1}, rb{b.buffer.data() + j, n, 1};
        gemm(kernels, 1, 1, k, ra, rb, {&one, 1, 1});
        different += one != c.at(i, j);
      }
    CHECK(different == 0);
  }
}

TEST_CASE("a packed operand gives the same bits", "[tiers]") {
  for (Isa isa : supported_isas()) {
    INFO(name_of(isa));
    const GemmKernels& kernels = gemm_kernels(isa);
    std::mt19937 rng(4);
    for (const auto& [m, n, k] : std::vector<std::array<Index, 3>>{{1, 1, 1},
                                                                   {5, 7, 0},
                                                                   {3, 33, 17},
                                                                   {64, 10, 784},
                                                                   {70, 48, 1030},
                                                                   {300, 2100, 5},
                                                                   {16, 130, 600},
                                                                   {9, 14, 5000}})
      for (const bool by_cols : {false, true}) {
        INFO(m << 'x' << n << 'x' << k);
        Matrix a(m, k, false, 1), b(k, n, by_cols, 2), c(m, n, false, 3), d(m, n, false, 3);
        a.fill(rng), b.fill(rng), c.fill(rng);
        std::copy(c.buffer.begin(), c.buffer.end(), d.buffer.begin());
        gemm(kernels, m, n, k, a.view(), b.view(), c.ref(), {.accumulate = true, .relu = true});
        const PackedB packed(kernels, k, n, b.view());
        gemm(m, a.view(), packed, d.ref(), {.accumulate = true, .relu = true});
        REQUIRE(std::equal(c.buffer.begin(), c.buffer.end(), d.buffer.begin()));
        gemm(kernels, m, n, k, a.view(), b.view(), c.ref());
        gemm(m, a.view(), packed, d.ref());
        REQUIRE(std::equal(c.buffer.begin(), c.buffer.end(), d.buffer.begin()));
      }
  }
  std::vector<float> x(64);
  const PackedB packed(2, 2, {x.data(), 2, 1});
  CHECK_THROWS_WITH(gemm(2, {x.data(), 2, 1}, packed, {x.data() + 20, 1, 2}),
                    "gemm: with a packed operand the result has column stride 2, expected 1");
}

TEST_CASE("gemm wants a unit stride in its result") {
  std::vector<float> x(64);
  CHECK_THROWS_WITH(gemm(2, 2, 2, {x.data(), 2, 1}, {x.data(), 2, 1}, {x.data() + 20, 8, 2}),
                    "gemm: the result has strides 8 and 2, expected one of them to be 1");
}
