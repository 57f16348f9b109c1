#include "tensor/gemm.h"

#include <algorithm>
#include <array>

#include "tensor/check.h"
#include "tensor/kernels/gemm.h"
#include "tensor/parallel.h"
#include "tensor/storage.h"

namespace nibble {
namespace {

// Cache blocks: a block of a (kRowsPerBlock x kDepth) stays in L2, panels of b (kDepth x tile width) stream
// past it. Deeper blocks pass over c less often.
constexpr std::int64_t kDepth = 512;
constexpr std::int64_t kRowsPerBlock = 252;
constexpr std::int64_t kColsPerBlock = 2048;
// From so many tiles side by side on, a packed operand pays for its packing.
constexpr std::int64_t kTilesWorthPacking = 4;
// And only if it is deeper than this: the rows of a shallow one are few enough for L1 as they are.
constexpr std::int64_t kDepthWorthPacking = 32;
// Up to so many rows a product with a transposed, deep b is cheaper the other way round: b is read as it is.
constexpr std::int64_t kFewRows = 32;
constexpr std::int64_t kWorkPerThread = 1 << 20;  // multiplications

std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

struct Problem {
  std::int64_t m, n, k;
  MatrixRef<const float> a, b;
  MatrixRef<float> c;  // col_stride 1
  GemmOptions options;
  const PackedB* packed = nullptr;  // stands for b, from (packed_k, packed_n) on
  std::int64_t packed_k = 0, packed_n = 0;

  Problem transposed() const {
    GemmOptions swapped = options;
    std::swap(swapped.row_bias, swapped.col_bias);
    return {n, m, k, b.transposed(), a.transposed(), c.transposed(), swapped, nullptr, 0, 0};
  }

  // Rows [i, i + rows) and columns [j, j + cols) of the result.
  Problem part(std::int64_t i, std::int64_t rows, std::int64_t j, std::int64_t cols) const {
    Problem result = *this;
    result.m = rows, result.n = cols;
    result.a.data += i * a.row_stride;
    result.b.data += j * b.col_stride;
    result.packed_n += j;
    result.c.data += i * c.row_stride + j * c.col_stride;
    if (options.row_bias != nullptr) result.options.row_bias += i;
    if (options.col_bias != nullptr) result.options.col_bias += j;
    return result;
  }

  // Step `index` of `steps` through k.
  Problem slice(std::int64_t index, std::int64_t steps) const {
    const std::int64_t depth = divide_up(k, steps), first = std::min(k, index * depth);
    Problem result = *this;
    result.k = std::min(depth, k - first);
    result.a.data += first * a.col_stride;
    result.b.data += first * b.row_stride;
    result.packed_k += first;
    if (index > 0) result.options.accumulate = true;
    if (index + 1 < steps)
      result.options.row_bias = result.options.col_bias = nullptr, result.options.relu = false;
    return result;
  }
};

std::int64_t steps_through(std::int64_t k) { return std::max<std::int64_t>(1, divide_up(k, kDepth)); }

// Columns of a panel of n, padded to whole vectors.
std::int64_t padded(const GemmKernels& kernels, std::int64_t n) {
  return static_cast<std::int64_t>(static_cast<std::size_t>(n) <= kernels.lanes ? kernels.lanes
                                                                                : kernels.cols);
}

void pack_panel(const GemmKernels& kernels, MatrixRef<const float> b, std::int64_t j, std::int64_t n,
                std::int64_t k, float* out) {
  kernels.pack(b.data + j * b.col_stride, b.col_stride, b.row_stride, static_cast<std::size_t>(n),
               static_cast<std::size_t>(k), static_cast<std::size_t>(padded(kernels, n)), out);
}

class Engine {
 public:
  // Scratch memory for both operands of one cache block.
  Engine(const GemmKernels& kernels, const Problem& whole)
      : kernels_(kernels),
        rows_(static_cast<std::int64_t>(kernels.rows)),
        cols_(static_cast<std::int64_t>(kernels.cols)) {
    const std::int64_t depth = std::min(whole.k, kDepth);
    const std::int64_t a = std::min(whole.m, kRowsPerBlock) * depth;
    const std::int64_t columns = whole.packed == nullptr ? std::min(whole.n, kColsPerBlock) : 0;
    const std::int64_t b = divide_up(columns, cols_) * cols_ * depth;
    a_offset_ = divide_up(b, 16) * 16;
    scratch_ = Storage::allocate(static_cast<std::size_t>(a_offset_ + a) * sizeof(float));
  }

  void run(const Problem& whole) {
    const std::int64_t steps = steps_through(whole.k);
    for (std::int64_t j = 0; j < whole.n; j += kColsPerBlock) {
      const Problem columns = whole.part(0, whole.m, j, std::min(kColsPerBlock, whole.n - j));
      for (std::int64_t step = 0; step < steps; ++step) run_columns(columns.slice(step, steps));
    }
  }

 private:
  float* packed_b() { return reinterpret_cast<float*>(scratch_->data()); }
  float* packed_a() { return packed_b() + a_offset_; }

  void run_columns(const Problem& p) {
    const bool pack_all =
        p.b.col_stride != 1 || (p.m > kTilesWorthPacking * rows_ && p.k > kDepthWorthPacking);
    const std::int64_t blocks = divide_up(p.m, kRowsPerBlock);
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::int64_t i = p.m * block / blocks;
      run_block(p.part(i, p.m * (block + 1) / blocks - i, 0, p.n), pack_all, block == 0);
    }
  }

  // Tiles of equal height, one below the other: as many of the larger of two heights as the rows take.
  struct Tiles {
    std::int64_t first_row, count, rows;
  };
  std::array<Tiles, 2> tiles_of(std::int64_t m) const {
    const std::int64_t count = divide_up(m, rows_), rows = divide_up(m, count), low = count * rows - m;
    return {Tiles{0, count - low, rows}, Tiles{(count - low) * rows, low, rows - 1}};
  }

  // The first block packs the panels of b, each at its first use, which finds it in L1.
  void run_block(const Problem& p, bool pack_all, bool first) {
    const std::array<Tiles, 2> all_tiles = tiles_of(p.m);
    const bool a_packed = p.n > kTilesWorthPacking * cols_ && p.k > kDepthWorthPacking &&
                          !(p.a.row_stride == 1 && p.a.col_stride == p.m);
    if (a_packed)
      for (const Tiles& tiles : all_tiles)
        for (std::int64_t tile = 0; tile < tiles.count; ++tile) {
          const std::int64_t i = tiles.first_row + tile * tiles.rows;
          const auto rows = static_cast<std::size_t>(tiles.rows);
          kernels_.pack(p.a.data + i * p.a.row_stride, p.a.row_stride, p.a.col_stride, rows,
                        static_cast<std::size_t>(p.k), rows, packed_a() + i * p.k);
        }
    for (std::int64_t j = 0; j < p.n; j += cols_) {
      const std::int64_t n = std::min(cols_, p.n - j);
      const bool pack = p.packed == nullptr && (pack_all || n < padded(kernels_, n));
      if (pack && first) pack_panel(kernels_, p.b, j, n, p.k, packed_b() + j * p.k);
      const bool packed = pack || p.packed != nullptr;
      const float* const panel = p.packed != nullptr ? p.packed->panel(p.packed_k, p.packed_n + j, p.k)
                                 : pack              ? packed_b() + j * p.k
                                                     : p.b.data + j;
      for (const auto [i, count, rows] : all_tiles) {
        if (count == 0) continue;
        kernels_.run(static_cast<std::size_t>(rows),
                     {.count = static_cast<std::size_t>(count),
                      .k = static_cast<std::size_t>(p.k),
                      .a = a_packed ? packed_a() + i * p.k : p.a.data + i * p.a.row_stride,
                      .a_tile = rows * (a_packed ? p.k : p.a.row_stride),
                      .a_row = a_packed ? 1 : p.a.row_stride,
                      .a_k = a_packed ? rows : p.a.col_stride,
                      .b = panel,
                      .b_k = packed ? padded(kernels_, n) : p.b.row_stride,
                      .b_ahead = packed || i > 0 ? 0 : 2 * cols_,
                      .c = p.c.data + i * p.c.row_stride + j,
                      .c_row = p.c.row_stride,
                      .cols = static_cast<std::size_t>(n),
                      .accumulate = p.options.accumulate,
                      .row_bias = p.options.row_bias == nullptr ? nullptr : p.options.row_bias + i,
                      .col_bias = p.options.col_bias == nullptr ? nullptr : p.options.col_bias + j,
                      .relu = p.options.relu});
      }
    }
  }

  const GemmKernels& kernels_;
  const std::int64_t rows_, cols_;
  std::int64_t a_offset_;
  std::shared_ptr<Storage> scratch_;
};

void run_parallel(const GemmKernels& kernels, const Problem& p);

// A few rows times a deep transposed matrix, which would be packed for little work: instead every thread's
// part of b is the left operand, read as it lies, and the small result is turned around.
bool is_better_turned(const Problem& p) {
  return p.packed == nullptr && p.b.row_stride == 1 && p.b.col_stride != 1 && p.m <= kFewRows &&
         p.n > kFewRows && p.k >= 8 * kFewRows;
}

void run_turned(const GemmKernels& kernels, const Problem& p) {
  const auto scratch = Storage::allocate(static_cast<std::size_t>(p.m * p.n) * sizeof(float));
  const MatrixRef<float> turned{reinterpret_cast<float*>(scratch->data()), 1, p.m};
  const auto copy = [&](MatrixRef<float> from, MatrixRef<float> to) {
    for (std::int64_t i = 0; i < p.m; ++i)
      for (std::int64_t j = 0; j < p.n; ++j)
        to.data[i * to.row_stride + j * to.col_stride] = from.data[i * from.row_stride + j * from.col_stride];
  };
  if (p.options.accumulate) copy(p.c, turned);
  Problem problem = p;
  problem.c = turned;
  run_parallel(kernels, problem.transposed());
  copy(turned, p.c);
}

void run_parallel(const GemmKernels& kernels, const Problem& p) {
  if (is_better_turned(p)) return run_turned(kernels, p);
  const std::int64_t rows = static_cast<std::int64_t>(kernels.rows);
  const std::int64_t cols = static_cast<std::int64_t>(kernels.cols);
  const std::int64_t row_tiles = divide_up(p.m, rows), col_tiles = divide_up(p.n, cols);
  const bool by_rows = row_tiles > col_tiles;
  const std::int64_t tiles = std::max(row_tiles, col_tiles), unit = by_rows ? rows : cols;
  const std::int64_t work = std::max<std::int64_t>(1, unit * (by_rows ? p.n : p.m) * p.k);
  parallel_for(tiles, divide_up(kWorkPerThread, work), [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin * unit, count = std::min(end * unit, by_rows ? p.m : p.n) - first;
    const Problem part = by_rows ? p.part(first, count, 0, p.n) : p.part(0, p.m, first, count);
    Engine(kernels, part).run(part);
  });
}

}  // namespace

PackedB::PackedB(std::int64_t k, std::int64_t n, MatrixRef<const float> b)
    : PackedB(gemm_kernels(), k, n, b) {}

PackedB::PackedB(const GemmKernels& kernels, std::int64_t k, std::int64_t n, MatrixRef<const float> b)
    : kernels_(&kernels), k_(k), n_(n) {
  const auto cols = static_cast<std::int64_t>(kernels.cols);
  padded_n_ = n / cols * cols + (n % cols == 0 ? 0 : padded(kernels, n % cols));
  storage_ = Storage::allocate(static_cast<std::size_t>(k * padded_n_) * sizeof(float));
  const std::int64_t steps = steps_through(k);
  const Problem whole{0, n, k, {nullptr, 0, 0}, b, {nullptr, 0, 0}, {}, nullptr, 0, 0};
  for (std::int64_t step = 0; step < steps; ++step) {
    const Problem part = whole.slice(step, steps);
    for (std::int64_t j = 0; j < n; j += cols)
      pack_panel(kernels, part.b, j, std::min(cols, n - j), part.k,
                 const_cast<float*>(panel(part.packed_k, j, part.k)));
  }
}

const float* PackedB::panel(std::int64_t p, std::int64_t j, std::int64_t depth) const {
  return reinterpret_cast<const float*>(storage_->data()) + p * padded_n_ + j * depth;
}

void gemm(std::int64_t m, MatrixRef<const float> a, const PackedB& b, MatrixRef<float> c,
          const GemmOptions& options) {
  NIBBLE_CHECK(c.col_stride == 1 || b.n() <= 1, "gemm: with a packed operand the result has column stride ",
               c.col_stride, ", expected 1");
  if (m <= 0 || b.n() <= 0) return;
  run_parallel(b.kernels(), {m, b.n(), b.k(), a, {nullptr, 0, 1}, c, options, &b, 0, 0});
}

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, MatrixRef<const float> a, MatrixRef<const float> b,
          MatrixRef<float> c, const GemmOptions& options) {
  gemm(gemm_kernels(), m, n, k, a, b, c, options);
}

void gemm(const GemmKernels& kernels, std::int64_t m, std::int64_t n, std::int64_t k,
          MatrixRef<const float> a, MatrixRef<const float> b, MatrixRef<float> c,
          const GemmOptions& options) {
  if (m <= 0 || n <= 0) return;
  const Problem problem{m, n, k, a, b, c, options, nullptr, 0, 0};
  const bool by_rows = c.col_stride == 1 || n == 1, by_cols = c.row_stride == 1 || m == 1;
  NIBBLE_CHECK(by_rows || by_cols, "gemm: the result has strides ", c.row_stride, " and ", c.col_stride,
               ", expected one of them to be 1");
  run_parallel(kernels, by_rows && !(by_cols && m > n) ? problem : problem.transposed());
}

}  // namespace nibble
