#include "tensor/gemm.h"

#include <algorithm>

#include "tensor/check.h"
#include "tensor/divide_up.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/transpose.h"
#include "tensor/parallel.h"
#include "tensor/storage.h"

namespace nibble {
namespace {

// Cache blocks: a block of a (kRowsPerBlock x kDepth) stays in L2, panels of b (kDepth x tile width) stream
// past it. Deeper blocks pass over c less often.
constexpr std::int64_t kDepth = 512;
constexpr std::int64_t kRowsPerBlock = 252;
// A b of a single panel is cut less often: it all stays in L2 (512 KiB on avx512), and long rows of a are
// read as they lie, one behind the other, which memory delivers faster than their parts.
constexpr std::int64_t kDepthOfOnePanel = 4096;
constexpr std::int64_t kColsPerBlock = 2048;
// b is packed so many columns at a time, row by row: 1 KiB of a row at once, where a single panel would take
// two cache lines of a page and go on to the next. Whole panels on every tier.
constexpr std::int64_t kColsPerGroup = 256;
// Up to so many rows of a, packing b costs more than it brings: b is read where it lies ...
constexpr std::int64_t kRowsInPlace = 128;
// ... or up to so many, if its rows lie whole pages apart and so fall into one set of L1, whence every tile
// has to fetch them anew ...
constexpr std::int64_t kRowsInPlaceOfPages = 16;
constexpr std::int64_t kPage = 4096 / sizeof(float);
// ... and then so many rows of it at a time. Each may lie on a page of its own, and a row is taken up again
// one panel later: so many pages are still in the first-level TLB then (96 entries on this generation, c and
// a need some), lines that fall into the same sets still in L2, and the prefetcher still follows the rows.
constexpr std::int64_t kDepthInPlace = 64;
// A slightly deeper b is not cut, though: a second pass over c costs more than a few rows too many.
constexpr std::int64_t kMostDepthInPlace = 80;
// A line of a is read an element at a time: of rows that lie pages apart, L1 keeps no more lines until their
// end.
constexpr std::int64_t kMostRowsOfPages = 8;
// From so many tiles side by side on, a pays for its packing, if it is deeper than this: the rows of a
// shallow one are few enough for L1 as they are.
constexpr std::int64_t kTilesWorthPacking = 4;
constexpr std::int64_t kDepthWorthPacking = 32;
// A panel beyond L2 is fetched while up to so many tiles of the one before run: a first tile alone would wait
// for it. A panel below a page is too short to be shared.
constexpr std::int64_t kMostFetchers = 4;
// Up to so many rows a product with a transposed, deep b is cheaper the other way round: b is read as it is.
constexpr std::int64_t kFewRows = 64;
constexpr std::int64_t kDepthWorthTurning = 64;
// Tiles that turn their rows take four columns of them at a time. With a result by rows, which has to be
// turned back, they pay where other tiles would leave so many lanes idle.
constexpr std::int64_t kLeastTurnedDepth = 4;
constexpr std::int64_t kIdleLanes = 4;
constexpr std::int64_t kWorkPerThread = 1 << 17;  // multiplications

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

std::int64_t steps_through(std::int64_t k, std::int64_t depth) {
  return std::max<std::int64_t>(1, divide_up(k, depth));
}

// Of a block of b with n columns in all.
std::int64_t depth_of_panels(const GemmKernels& kernels, std::int64_t n) {
  return n <= static_cast<std::int64_t>(kernels.cols) ? kDepthOfOnePanel : kDepth;
}

// Columns of a panel of n, padded to whole vectors.
std::int64_t padded(const GemmKernels& kernels, std::int64_t n) {
  return static_cast<std::int64_t>(static_cast<std::size_t>(n) <= kernels.lanes ? kernels.lanes
                                                                                : kernels.cols);
}

// n columns of b in panels one behind the other, the last one padded.
void pack_panels(const GemmKernels& kernels, MatrixRef<const float> b, std::int64_t n, std::int64_t k,
                 float* out) {
  const auto pack = [&](std::int64_t j, std::int64_t count, std::int64_t width) {
    kernels.pack(b.data + j * b.col_stride, b.col_stride, b.row_stride, static_cast<std::size_t>(count),
                 static_cast<std::size_t>(k), static_cast<std::size_t>(width), out + j * k);
  };
  const auto cols = static_cast<std::int64_t>(kernels.cols);
  const std::int64_t rest = n % cols;
  if (n > rest) pack(0, n - rest, cols);
  if (rest > 0) pack(n - rest, rest, padded(kernels, rest));
}

bool lies_on_pages(MatrixRef<const float> x) { return x.row_stride > 0 && x.row_stride % kPage == 0; }

// Panels of b.
struct Panels {
  const float* data;
  std::int64_t row, panel;       // from row to row, panel to panel
  std::int64_t fetchers, ahead;  // see GemmTiles
};

class Engine {
 public:
  // Scratch memory for both operands of one cache block.
  Engine(const GemmKernels& kernels, const Problem& whole)
      : kernels_(kernels),
        rows_(static_cast<std::int64_t>(kernels.rows)),
        cols_(static_cast<std::int64_t>(kernels.cols)),
        in_place_(is_read_in_place(whole)),
        steps_(steps_of(whole)),
        // A block of rows below the first finds the panels packed already.
        kept_cols_(whole.packed != nullptr   ? 0
                   : in_place_               ? cols_  // the last panel, if it has to be padded
                   : whole.m > kRowsPerBlock ? kColsPerBlock
                                             : kColsPerGroup) {
    const std::int64_t depth = divide_up(whole.k, steps_);
    const std::int64_t b = divide_up(std::min(whole.n, kept_cols_), cols_) * cols_ * depth;
    a_offset_ = divide_up(b, 16) * 16;
    const std::int64_t a = is_a_worth_packing(whole.n, depth) ? std::min(whole.m, kRowsPerBlock) * depth : 0;
    scratch_ = Storage::allocate(static_cast<std::size_t>(a_offset_ + a) * sizeof(float));
  }

  void run(const Problem& whole) {
    for (std::int64_t j = 0; j < whole.n; j += kColsPerBlock) {
      const Problem columns = whole.part(0, whole.m, j, std::min(kColsPerBlock, whole.n - j));
      for (std::int64_t step = 0; step < steps_; ++step) run_columns(columns.slice(step, steps_));
    }
  }

 private:
  float* scratch() { return reinterpret_cast<float*>(scratch_->data()); }
  float* packed_b(const Problem& p, std::int64_t j) { return scratch() + j % kept_cols_ * p.k; }
  float* packed_a() { return scratch() + a_offset_; }

  void run_columns(const Problem& p) {
    const std::int64_t blocks = divide_up(p.m, kRowsPerBlock);
    for (std::int64_t block = 0; block < blocks; ++block) {
      const std::int64_t i = p.m * block / blocks;
      run_block(p.part(i, p.m * (block + 1) / blocks - i, 0, p.n), block == 0);
    }
  }

  // Tiles one below the other, whose heights differ by one at most.
  struct Tiles {
    std::int64_t rows, tall, low;
  };
  Tiles tiles_of(std::int64_t m, std::int64_t most) const {
    const std::int64_t count = divide_up(m, most), rows = divide_up(m, count), low = count * rows - m;
    return {rows, count - low, low};
  }

  void pack_a(const Problem& p, const Tiles& tiles) {
    for (std::int64_t i = 0; i < p.m;) {
      const std::int64_t rows = i < tiles.tall * tiles.rows ? tiles.rows : tiles.rows - 1;
      kernels_.pack(p.a.data + i * p.a.row_stride, p.a.row_stride, p.a.col_stride,
                    static_cast<std::size_t>(rows), static_cast<std::size_t>(p.k),
                    static_cast<std::size_t>(rows), packed_a() + i * p.k);
      i += rows;
    }
  }

  bool is_read_in_place(const Problem& p) const {
    if (p.packed != nullptr || p.b.col_stride != 1) return false;
    if (lies_on_pages(p.b) && p.m > kRowsInPlaceOfPages) return false;
    return p.k <= kDepthInPlace || (p.m <= kRowsInPlace && p.n > cols_);
  }

  std::int64_t steps_of(const Problem& p) const {
    if (p.packed != nullptr) return p.packed->steps();
    if (!in_place_) return steps_through(p.k, depth_of_panels(kernels_, p.n));
    return p.k <= kMostDepthInPlace ? 1 : steps_through(p.k, kDepthInPlace);
  }

  bool is_a_worth_packing(std::int64_t n, std::int64_t k) const {
    return n > kTilesWorthPacking * cols_ && k > kDepthWorthPacking;
  }

  // The first block packs b, each group of panels before its first use, which finds it in the cache.
  void run_block(const Problem& p, bool first) {
    const bool packs_a = is_a_worth_packing(p.n, p.k) && !(p.a.row_stride == 1 && p.a.col_stride == p.m);
    const Tiles tiles =
        tiles_of(p.m, !packs_a && lies_on_pages(p.a) ? std::min(rows_, kMostRowsOfPages) : rows_);
    if (packs_a) pack_a(p, tiles);
    const std::int64_t group = p.packed == nullptr && !in_place_ ? kColsPerGroup : p.n;
    for (std::int64_t j = 0; j < p.n; j += group) {
      const std::int64_t n = std::min(group, p.n - j), whole = n / cols_ * cols_;
      if (whole > 0) run_panels(p, j, whole, tiles, packs_a, panels_of(p, j, whole, tiles, first));
      if (whole < n)
        run_panels(p, j + whole, n - whole, tiles, packs_a, panels_of(p, j + whole, n - whole, tiles, first));
    }
  }

  // Of the n columns from j on: whole panels, or a single narrower one.
  Panels panels_of(const Problem& p, std::int64_t j, std::int64_t n, const Tiles& tiles, bool first) {
    const std::int64_t width = padded(kernels_, n), panel = width * p.k;
    const std::int64_t fetchers = panel < kPage ? 1 : std::min(tiles.tall + tiles.low, kMostFetchers);
    if (in_place_ && n % width == 0) return {p.b.data + j, p.b.row_stride, cols_, fetchers, cols_};
    const std::int64_t ahead = panel == 0 ? 0 : divide_up(kPage, panel) * panel;
    if (p.packed != nullptr)
      return {p.packed->panel(p.packed_k, p.packed_n + j, p.k), width, panel, fetchers, ahead};
    if (first) pack_panels(kernels_, p.part(0, 0, j, 0).b, n, p.k, packed_b(p, j));
    return {packed_b(p, j), width, panel, fetchers, ahead};
  }

  void run_panels(const Problem& p, std::int64_t j, std::int64_t n, const Tiles& tiles, bool a_packed,
                  const Panels& b) {
    kernels_.run({.rows = static_cast<std::size_t>(tiles.rows),
                  .tall = static_cast<std::size_t>(tiles.tall),
                  .low = static_cast<std::size_t>(tiles.low),
                  .panels = static_cast<std::size_t>(divide_up(n, cols_)),
                  .cols = static_cast<std::size_t>(std::min(n, cols_)),
                  .k = static_cast<std::size_t>(p.k),
                  .a = a_packed ? packed_a() : p.a.data,
                  .a_row = a_packed ? p.k : p.a.row_stride,
                  .a_k = p.a.col_stride,
                  .a_packed = a_packed,
                  .b = b.data,
                  .b_panel = b.panel,
                  .b_k = b.row,
                  .fetchers = static_cast<std::size_t>(b.fetchers),
                  .b_ahead = b.ahead,
                  .c = p.c.data + j,
                  .c_row = p.c.row_stride,
                  .accumulate = p.options.accumulate,
                  .row_bias = p.options.row_bias,
                  .col_bias = p.options.col_bias == nullptr ? nullptr : p.options.col_bias + j,
                  .relu = p.options.relu});
  }

  const GemmKernels& kernels_;
  const std::int64_t rows_, cols_;
  const bool in_place_;
  const std::int64_t steps_, kept_cols_;
  std::int64_t a_offset_;
  std::shared_ptr<Storage> scratch_;
};

void run_parallel(const GemmKernels& kernels, const Problem& p);

bool has_transposed_b(const Problem& p) {
  return p.packed == nullptr && p.b.row_stride == 1 && p.b.col_stride != 1;
}

// A few rows times a deep transposed matrix, which would be packed for little work: instead every thread's
// part of b is the left operand, read as it lies, and the small result is turned around.
bool is_better_turned(const Problem& p) {
  return has_transposed_b(p) && p.m <= kFewRows && p.n > p.m && p.k >= kDepthWorthTurning;
}

void run_turned(const GemmKernels& kernels, const Problem& p) {
  const auto scratch = Storage::allocate(static_cast<std::size_t>(p.m * p.n) * sizeof(float));
  const MatrixRef<float> turned{reinterpret_cast<float*>(scratch->data()), 1, p.m};
  // Columns of c that are turned at once, from L1.
  constexpr std::int64_t kColumns = 128;
  const auto for_columns = [&](auto turn) {
    for (std::int64_t j = 0; j < p.n; j += kColumns)
      turn(static_cast<std::size_t>(std::min(kColumns, p.n - j)), turned.data + j * p.m, p.c.data + j);
  };
  const auto rows = static_cast<std::size_t>(p.m), c_step = static_cast<std::size_t>(p.c.row_stride);
  if (p.options.accumulate)
    for_columns([&](std::size_t columns, float* to, const float* from) {
      transpose_kernels().transpose(from, c_step, rows, columns, to, rows);
    });
  Problem problem = p;
  problem.c = turned;
  run_parallel(kernels, problem.transposed());
  for_columns([&](std::size_t columns, const float* from, float* to) {
    transpose_kernels().transpose(from, rows, columns, rows, to, c_step);
  });
}

// A few columns times rows that lie along k: rows are turned into lanes as they are read.
bool fits_turned_tiles(const GemmKernels& kernels, const Problem& p) {
  const auto lanes = static_cast<std::int64_t>(kernels.lanes);
  const bool readable_a =
      p.a.col_stride == 1 && p.a.row_stride > 1 && (lanes <= kMostRowsOfPages || !lies_on_pages(p.a));
  const bool one_panel =
      p.packed == nullptr || (p.packed->steps() == 1 && p.n <= static_cast<std::int64_t>(kernels.cols));
  return readable_a && one_panel && p.m >= lanes && p.k >= kLeastTurnedDepth &&
         p.n <= static_cast<std::int64_t>(kernels.turned_cols) && !p.options.accumulate &&
         (p.c.row_stride == 1 || padded(kernels, p.n) - p.n >= kIdleLanes);
}

void run_turned_tiles(const GemmKernels& kernels, const Problem& p) {
  const auto lanes = static_cast<std::int64_t>(kernels.lanes);
  const std::int64_t tiles = p.m / lanes, rows = tiles * lanes;
  const bool packs_b = p.packed == nullptr && p.b.col_stride != 1, turns_c = p.c.row_stride != 1;
  const std::int64_t b_size = packs_b ? divide_up(p.n * p.k, 16) * 16 : 0;
  const auto scratch =
      Storage::allocate(static_cast<std::size_t>(b_size + (turns_c ? p.n * rows : 0)) * sizeof(float));
  auto* const own_b = reinterpret_cast<float*>(scratch->data());
  MatrixRef<const float> b = p.b;
  if (p.packed != nullptr) b = {p.packed->panel(0, p.packed_n, p.k), padded(kernels, p.n), 1};
  if (packs_b) {
    const auto n = static_cast<std::size_t>(p.n);
    kernels.pack(p.b.data, p.b.col_stride, p.b.row_stride, n, static_cast<std::size_t>(p.k), n, own_b);
    b = {own_b, p.n, 1};
  }
  const MatrixRef<float> c = turns_c ? MatrixRef<float>{own_b + b_size, 1, rows} : p.c;
  const std::int64_t work = std::max<std::int64_t>(1, lanes * p.n * p.k);
  parallel_for(tiles, divide_up(kWorkPerThread, work), [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin * lanes;
    const Problem part = p.part(first, (end - begin) * lanes, 0, p.n);
    kernels.run_turned({.tiles = static_cast<std::size_t>(end - begin),
                        .cols = static_cast<std::size_t>(p.n),
                        .k = static_cast<std::size_t>(p.k),
                        .a = part.a.data,
                        .a_row = static_cast<std::size_t>(p.a.row_stride),
                        .b = b.data,
                        .b_k = b.row_stride,
                        .c = c.data + first,
                        .c_col = static_cast<std::size_t>(c.col_stride),
                        .row_bias = part.options.row_bias,
                        .col_bias = p.options.col_bias,
                        .relu = p.options.relu});
    if (turns_c)
      transpose_kernels().transpose(c.data + first, static_cast<std::size_t>(rows),
                                    static_cast<std::size_t>(p.n), static_cast<std::size_t>(part.m),
                                    part.c.data, static_cast<std::size_t>(p.c.row_stride));
  });
  const Problem rest = p.part(rows, p.m - rows, 0, p.n);
  if (rest.m > 0) run_parallel(kernels, rest.c.col_stride == 1 ? rest : rest.transposed());
}

void run_parallel(const GemmKernels& kernels, const Problem& p) {
  if (fits_turned_tiles(kernels, p)) return run_turned_tiles(kernels, p);
  if (p.packed == nullptr && fits_turned_tiles(kernels, p.transposed()))
    return run_turned_tiles(kernels, p.transposed());
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
    : kernels_(&kernels), k_(k), n_(n), steps_(steps_through(k, depth_of_panels(kernels, n))) {
  const auto cols = static_cast<std::int64_t>(kernels.cols);
  padded_n_ = n / cols * cols + (n % cols == 0 ? 0 : padded(kernels, n % cols));
  storage_ = Storage::allocate(static_cast<std::size_t>(k * padded_n_) * sizeof(float));
  const Problem whole{0, n, k, {nullptr, 0, 0}, b, {nullptr, 0, 0}, {}, nullptr, 0, 0};
  for (std::int64_t step = 0; step < steps_; ++step) {
    const Problem part = whole.slice(step, steps_);
    pack_panels(kernels, part.b, n, part.k, const_cast<float*>(panel(part.packed_k, 0, part.k)));
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
