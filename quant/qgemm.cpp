#include "quant/qgemm.h"

#include <algorithm>
#include <utility>

#include "quant/epilogue.h"
#include "quant/kernels/bits.h"
#include "quant/row_source.h"
#include "quant/stored_activations.h"
#include "quant/tiling.h"
#include "tensor/check.h"
#include "tensor/divide_up.h"
#include "tensor/parallel.h"
#include "tensor/storage.h"

namespace nibble::quant {
namespace {

// Rows that are packed together: they stay in L2 while the panels of the weights stream past them.
constexpr std::int64_t kBlockBytes = 512 << 10;
// Side by side in one call: a lone tile wants many streams; tiles one below the other want to find the panels
// in L1, but at least two of them.
constexpr std::int64_t kPanelBytesInL1 = 32 << 10;
constexpr std::int64_t kLeastPanels = 2;
constexpr std::int64_t kRowsPerUnit = 8, kPanelsPerUnit = 4;
constexpr std::int64_t kWorkPerThread = 1 << 21;  // multiplications

// So many panels have columns whose results fill whole bytes, even if they become codes of one bit: no two
// calls and no two threads write to one byte.
std::int64_t panels_of_whole_bytes(std::int64_t lanes) { return divide_up(8, lanes); }
std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

// One product; what all of its parts share.
struct Job {
  const RowSource& rows;
  const ActFormat& format;
  const PackedMatrix& w;
  const QGemmKernels& kernels = w.kernels();
  const StoredActivations stored{format, kernels.signed_activations};
  const Epilogue epilogue;

  Job(const RowSource& rows, const ActFormat& format, const PackedMatrix& w, const QGemmOutput& out,
      std::int64_t column)
      : rows(rows),
        format(format),
        w(w),
        epilogue(w.isa(), {w.n(), w.column_sums(), w.scale(), w.scaled_column_sums()}, stored.zero_point,
                 format.scale, out, column) {}
};

// The tiles of one thread: rows [row, row + m) and panels [panel, panel + panels).
class Part {
 public:
  Part(const Job& job, std::int64_t row, std::int64_t m, std::int64_t panel, std::int64_t panels)
      : job_(job),
        kernels_(job.kernels),
        lanes_(static_cast<std::int64_t>(kernels_.lanes)),
        row_(row),
        m_(m),
        panel_(panel),
        panels_(panels),
        k_(job.w.k()),
        groups_(job.w.group() == 0 ? 1 : divide_up(k_, job.w.group())),
        tiling_(job.w, m, job.format.bit_width) {}

  void run() {
    choose_blocks();
    place();  // to find the size
    scratch_ = Storage::allocate(size(used_));
    place();
    for (std::int64_t t = 0; t < block_tiles_; ++t) packed_[t].own = buffers_ + t * tile_bytes_;
    for (std::int64_t first = 0; first < tiling_.tiles; first += block_tiles_)
      run_block(first, std::min(block_tiles_, tiling_.tiles - first));
  }

 private:
  // Of a panel as tiles read it.
  std::int64_t stored_panel_bytes() const {
    return tiling_.form == WeightForm::packed
               ? job_.w.panel_bytes()
               : static_cast<std::int64_t>(kernels_.expanded_bytes(size(k_), tiling_.form));
  }

  void choose_blocks() {
    tile_bytes_ = static_cast<std::int64_t>(
        kernels_.row_bytes(size(tiling_.height), size(k_), job_.format.bit_width, tiling_.form));
    if (kernels_.takes_rows != nullptr) tile_bytes_ = std::max(tile_bytes_, tiling_.height * k_);
    block_tiles_ = std::clamp<std::int64_t>(kBlockBytes / tile_bytes_, 1, tiling_.tiles);
    block_panels_ = static_cast<std::int64_t>(kernels_.max_panels);
    if (tiling_.tiles > 1) {
      const std::int64_t step = panels_of_whole_bytes(lanes_);
      block_panels_ = std::clamp(kPanelBytesInL1 / stored_panel_bytes() / step * step,
                                 std::max(kLeastPanels, step), block_panels_);
    }
  }

  template <class T>
  T* take(std::int64_t count) {
    T* const result = reinterpret_cast<T*>(scratch_ == nullptr ? nullptr : scratch_->data() + used_);
    used_ += divide_up(count * static_cast<std::int64_t>(sizeof(T)), 64) * 64;
    return result;
  }
  void place() {
    const std::int64_t sums = tiling_.height * block_panels_ * lanes_;
    used_ = 0;
    buffers_ = take<std::byte>(block_tiles_ * tile_bytes_);
    packed_ = take<PackedTile>(block_tiles_);
    init_ = take<std::int32_t>(groups_ * block_tiles_ * tiling_.height);
    sums_ = take<std::int32_t>(sums);
    rows_ = take<std::byte>(std::max(tile_bytes_, tiling_.height * k_));
    codes_ = take<std::uint8_t>(sums);
    if (tiling_.form != WeightForm::packed) expanded_ = take<std::byte>(block_panels_ * stored_panel_bytes());
  }

  void run_block(std::int64_t first_tile, std::int64_t tiles) {
    for (std::int64_t t = 0; t < tiles; ++t) pack_tile(first_tile + t, t);
    for (std::int64_t p = 0; p < panels_; p += block_panels_)
      run_panels(first_tile, tiles, p, std::min(block_panels_, panels_ - p));
  }

  void write_sums(std::int64_t tile, std::int64_t panel, std::int64_t panels) {
    const std::int64_t column = (panel_ + panel) * lanes_;
    job_.epilogue.write({.acc = sums_,
                         .scaled = job_.w.group() == 0 ? nullptr : reinterpret_cast<const float*>(sums_),
                         .stride = block_panels_ * lanes_,
                         .i = row_ + tile * tiling_.height,
                         .j = column,
                         .rows = tiling_.rows_of(tile),
                         .cols = std::min(panels * lanes_, job_.w.n() - column)},
                        codes_);
  }

  // Where the sums of a tile may go at once: whole tiles of int32 to which nothing is added.
  Epilogue::Place final_place(std::int64_t tile, std::int64_t panel, std::int64_t panels) const {
    const bool whole = tile * tiling_.height + tiling_.height_of(tile) <= m_ &&
                       (panel_ + panel + panels) * lanes_ <= job_.w.n();
    return whole ? job_.epilogue.unchanged(row_ + tile * tiling_.height, (panel_ + panel) * lanes_)
                 : Epilogue::Place{nullptr, 0};
  }

  // Rows of a matrix, evenly spaced and as the kernels want them.
  bool reads_rows(std::int64_t tile, const std::uint8_t* const* rows, std::int64_t count) const {
    if (job_.stored.flip != 0 || !tiling_.reads_rows(tile)) return false;
    for (std::int64_t i = 2; i < count; ++i)
      if (rows[i] - rows[i - 1] != rows[1] - rows[0]) return false;
    return rows[1] > rows[0];
  }

  void pack_tile(std::int64_t tile, std::int64_t slot) {
    const std::uint8_t* rows[kMaxHeight];
    auto* const scratch = reinterpret_cast<std::uint8_t*>(rows_);
    const std::int64_t count = tiling_.rows_of(tile);
    for (std::int64_t i = 0; i < count; ++i)
      rows[i] = job_.rows.row(row_ + tile * tiling_.height + i, scratch + i * k_);
    PackedTile& packed = packed_[slot];
    if (reads_rows(tile, rows, count)) {
      if (rows[0] == scratch) std::swap(rows_, packed.own);  // they stay until all panels have met them
      packed.a = reinterpret_cast<const std::byte*>(rows[0]);
      packed.stride = size(rows[1] - rows[0]);
      std::fill_n(init_ + slot * groups_ * tiling_.height, tiling_.height, 0);
      return;
    }
    packed.a = packed.own;
    packed.stride = 0;
    kernels_.pack_rows({.rows = rows,
                        .count = size(count),
                        .tile_rows = size(tiling_.height_of(tile)),
                        .k = size(k_),
                        .act_bits = job_.format.bit_width,
                        .act_step = job_.format.is_binary ? 2 : 1,
                        .flip = job_.stored.flip,
                        .form = tiling_.form,
                        .group = size(job_.w.group() == 0 ? k_ : job_.w.group()),
                        .weight_zero_point = tiling_.weight_zero_point},
                       packed.own, init_ + slot * groups_ * tiling_.height);
  }

  // Panels [panel, panel + panels) of every tile of a block.
  void run_panels(std::int64_t first_tile, std::int64_t tiles, std::int64_t panel, std::int64_t panels) {
    const int bits = job_.w.options().bit_width;
    const std::byte* w = job_.w.panel(panel_ + panel);
    std::size_t stride = size(job_.w.panel_bytes());
    if (tiling_.form != WeightForm::packed) {
      stride = size(stored_panel_bytes());
      for (std::int64_t v = 0; v < panels; ++v)
        kernels_.expand_panel(job_.w.panel(panel_ + panel + v), size(k_), bits,
                              job_.w.stored_zero_point() - tiling_.weight_zero_point, tiling_.form,
                              expanded_ + size(v) * stride);
      w = expanded_;
    }
    QGemmTile tile{.rows = 0,
                   .panels = size(panels),
                   .k = size(k_),
                   .weight_bits = bits,
                   .act_bits = job_.format.bit_width,
                   .act_step = job_.format.is_binary ? 2 : 1,
                   .form = tiling_.form,
                   .fits_int16 = tiling_.fits_int16,
                   .a = nullptr,
                   .w = w,
                   .panel_stride = stride,
                   .init = nullptr,
                   .acc = nullptr,
                   .row_stride = 0,
                   .group = size(job_.w.group()),
                   .group_scale = job_.w.group_scales(panel_ + panel),
                   .group_scale_stride = size(groups_ * lanes_),
                   .sum = nullptr};
    for (std::int64_t t = 0; t < tiles; ++t) {
      tile.rows = size(tiling_.height_of(first_tile + t));
      tile.a = packed_[t].a;
      tile.a_stride = packed_[t].stride;
      tile.init = init_ + t * groups_ * tiling_.height;
      if (const Epilogue::Place place = final_place(first_tile + t, panel, panels); place.data != nullptr) {
        tile.acc = place.data;
        tile.row_stride = size(place.stride);
        kernels_.run(tile);
        continue;
      }
      tile.acc = sums_;
      tile.row_stride = size(block_panels_ * lanes_);
      tile.sum = reinterpret_cast<float*>(tile.acc);
      kernels_.run(tile);
      write_sums(first_tile + t, panel, panels);
    }
  }

  static constexpr std::int64_t kMaxHeight = 32;

  // Rows of a tile as run takes them.
  struct PackedTile {
    std::byte* own;  // tile_bytes_, to be written to
    const std::byte* a;
    std::size_t stride;  // QGemmTile::a_stride
  };

  const Job& job_;
  const QGemmKernels& kernels_;
  const std::int64_t lanes_, row_, m_, panel_, panels_, k_, groups_;
  const Tiling tiling_;
  // A block is so many tiles, packed together, by so many panels, in one call.
  std::int64_t tile_bytes_ = 0, block_tiles_ = 0, block_panels_ = 0;
  std::shared_ptr<Storage> scratch_;
  std::int64_t used_ = 0;
  std::byte* buffers_ = nullptr;
  PackedTile* packed_ = nullptr;
  std::byte* rows_ = nullptr;  // of one tile, before it is packed
  std::int32_t* init_ = nullptr;
  std::int32_t* sums_ = nullptr;  // or float32
  std::uint8_t* codes_ = nullptr;
  std::byte* expanded_ = nullptr;
};

// A matrix of bytes, or of packed codes.
class MatrixRows : public RowSource {
 public:
  MatrixRows(const ActMatrix& a, const PackedMatrix& w) : a_(a), bits_(bits_kernels(w.isa())) {}

  const std::uint8_t* row(std::int64_t i, std::uint8_t* scratch) const override {
    const std::uint8_t* const from = a_.data + i * a_.row_stride;
    if (a_.format.bit_width == 8) return from;
    bits_.unpack(from, size(a_.k), a_.format.bit_width, scratch);
    if (a_.format.is_binary)
      for (std::int64_t p = 0; p < a_.k; ++p) scratch[p] = static_cast<std::uint8_t>(2 * scratch[p]);
    return scratch;
  }

 private:
  const ActMatrix& a_;
  const BitsKernels& bits_;
};

}  // namespace

void qgemm(std::int64_t m, const RowSource& rows, const ActFormat& format, const PackedMatrix& w,
           const QGemmOutput& out, std::int64_t column) {
  check_activations(format, w.options());
  NIBBLE_CHECK(w.group() == 0 || std::holds_alternative<ToFloat>(out),
               "qgemm: weights with scales per group have float results only");
  if (m <= 0) return;
  const Job job(rows, format, w, out, column);
  const auto lanes = static_cast<std::int64_t>(job.kernels.lanes);
  const std::int64_t panels = divide_up(w.n(), lanes);
  // Threads that share rows each read all weights, or expand them; those that share columns each bring all
  // rows into order, which costs about eight times as much a byte as reading, and as much as expanding.
  const std::int64_t row_cost = Tiling(w, m, format.bit_width).form == WeightForm::packed ? 8 : 1;
  const bool by_rows = m >= 2 * kRowsPerUnit && row_cost * m >= w.n();
  const std::int64_t unit = by_rows ? kRowsPerUnit : std::max(kPanelsPerUnit, panels_of_whole_bytes(lanes));
  const std::int64_t units = divide_up(by_rows ? m : panels, unit);
  const std::int64_t work = std::max<std::int64_t>(1, unit * (by_rows ? w.n() : m * lanes) * w.k());
  parallel_for(units, divide_up(kWorkPerThread, work), [&](std::int64_t begin, std::int64_t end) {
    const std::int64_t first = begin * unit, count = std::min(end * unit, by_rows ? m : panels) - first;
    by_rows ? Part(job, first, count, 0, panels).run() : Part(job, 0, m, first, count).run();
  });
}

void qgemm(const ActMatrix& a, const PackedMatrix& w, const QGemmOutput& out) {
  NIBBLE_CHECK(a.k == w.k(), "qgemm: activations have ", a.k, " columns, weights ", w.k());
  qgemm(a.m, MatrixRows(a, w), a.format, w, out);
}

}  // namespace nibble::quant
