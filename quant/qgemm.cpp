#include "quant/qgemm.h"

#include <algorithm>
#include <utility>

#include "quant/kernels/bits.h"
#include "quant/kernels/requantize.h"
#include "quant/row_source.h"
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

// Activations as the kernels of a family store them: byte = code + offset (binary: 2 * code).
struct StoredActivations {
  std::uint8_t flip = 0;
  std::int32_t zero_point;

  StoredActivations(const ActFormat& f, const QGemmKernels& kernels) : zero_point(f.zero_point) {
    if (f.is_binary) zero_point = 1;
    if (f.bit_width < 8 || f.is_signed == kernels.signed_activations) return;
    flip = 0x80;
    zero_point += f.is_signed ? 128 : -128;
  }
};

void check(const ActFormat& f, const PackedMatrix& w, const QGemmOutput& out) {
  NIBBLE_CHECK(f.bit_width == 1 || f.bit_width == 2 || f.bit_width == 4 || f.bit_width == 8,
               "qgemm: activations of ", f.bit_width, " bits, expected 1, 2, 4 or 8");
  NIBBLE_CHECK(f.bit_width <= w.options().act_bits, "qgemm: activations of ", f.bit_width,
               " bits, the weights were packed for at most ", w.options().act_bits);
  NIBBLE_CHECK(!f.is_binary || f.bit_width == 1, "qgemm: binary activations of ", f.bit_width, " bits");
  const std::int32_t lowest = f.is_signed ? -(1 << (f.bit_width - 1)) : 0,
                     highest = lowest + (1 << f.bit_width) - 1;
  NIBBLE_CHECK(f.zero_point >= lowest && f.zero_point <= highest, "qgemm: zero point of activations is ",
               f.zero_point, ", expected ", lowest, " to ", highest);
  NIBBLE_CHECK(!f.is_signed || f.bit_width == 8, "qgemm: signed activations of ", f.bit_width,
               " bits, expected 8 (or unsigned with a zero point)");
  NIBBLE_CHECK(w.group() == 0 || std::holds_alternative<ToFloat>(out),
               "qgemm: weights with scales per group have float results only");
}

// bias - zero_point * column sum, and the proof that no result leaves int32: the sum of products of values is
// below 2^30 (max_k), and so is zero_point * column sum.
void prepare_additions(std::int32_t zero_point, const PackedMatrix& w, const std::int32_t* bias,
                       std::int32_t* out) {
  for (std::int64_t j = 0; j < w.n(); ++j) {
    const std::int32_t b = bias == nullptr ? 0 : bias[j];
    NIBBLE_CHECK(b >= -(1 << 30) && b <= (1 << 30), "qgemm: bias ", j, " is ", b, ", expected at most 2^30");
    out[j] = b - zero_point * w.column_sums()[size(j)];
  }
}

// One product; what all of its parts share.
struct Job {
  const RowSource& rows;
  const ActFormat& format;
  const PackedMatrix& w;
  const QGemmOutput& out;
  const std::int64_t column;
  const QGemmKernels& kernels = w.kernels();
  const RequantizeKernels& epilogues = requantize_kernels(w.isa());
  const BitsKernels& bits = bits_kernels(w.isa());
  const StoredActivations stored{format, kernels};
  std::shared_ptr<Storage> additions_storage, scales_storage;
  const std::int32_t* additions = nullptr;  // none if there is nothing to add
  const float *scales = nullptr, *float_additions = nullptr;

  Job(const RowSource& rows, const ActFormat& format, const PackedMatrix& w, const QGemmOutput& out,
      std::int64_t column)
      : rows(rows), format(format), w(w), out(out), column(column) {
    const std::int32_t* bias = nullptr;
    if (const auto* ints = std::get_if<ToInt32>(&out)) bias = ints->bias;
    if (const auto* codes = std::get_if<ToCodes>(&out)) bias = codes->bias;
    if (bias != nullptr || stored.zero_point != 0) {
      additions_storage = Storage::allocate(size(w.n()) * sizeof(std::int32_t));
      auto* const to = reinterpret_cast<std::int32_t*>(additions_storage->data());
      prepare_additions(stored.zero_point, w, bias, to);
      additions = to;
    }
    if (std::holds_alternative<ToFloat>(out)) {
      scales_storage = Storage::allocate(2 * size(w.n()) * sizeof(float));
      auto* const products = reinterpret_cast<float*>(scales_storage->data());
      for (std::int64_t j = 0; j < w.n(); ++j) {
        const bool is_grouped = w.group() != 0;
        products[j] =
            is_grouped ? format.scale : format.scale * w.scale()[w.scale().size() == 1 ? 0 : size(j)];
        if (is_grouped)
          products[w.n() + j] = -static_cast<float>(stored.zero_point) * w.scaled_column_sums()[size(j)];
      }
      float_additions = products + w.n();
      scales = products;
    }
  }
};

// A tile's sums, rows of `stride`, at row i and column j of the result.
struct Sums {
  const std::int32_t* acc;
  const float* scaled;  // with scales per group
  std::int64_t stride, i, j, rows, cols;
};

void write(const Job& job, const ToInt32& to, const Sums& s, std::uint8_t*) {
  job.epilogues.add({s.acc, size(s.stride), size(s.rows), size(s.cols),
                     job.additions == nullptr ? nullptr : job.additions + s.j},
                    to.data + s.i * to.stride + job.column + s.j, to.stride);
}

void write(const Job& job, const ToFloat& to, const Sums& s, std::uint8_t*) {
  float* const out = to.data + s.i * to.stride + job.column + s.j;
  const float* const bias = to.bias == nullptr ? nullptr : to.bias + s.j;
  if (job.w.group() == 0) {
    job.epilogues.to_float({s.acc, size(s.stride), size(s.rows), size(s.cols),
                            job.additions == nullptr ? nullptr : job.additions + s.j},
                           {job.scales + s.j, bias, to.relu}, out, to.stride);
    return;
  }
  job.epilogues.floats_to_float(
      {s.scaled, size(s.stride), size(s.rows), size(s.cols), job.float_additions + s.j},
      {job.scales + s.j, bias, to.relu}, out, to.stride);
}

void write(const Job& job, const ToCodes& to, const Sums& s, std::uint8_t* scratch) {
  const std::int64_t first = (job.column + s.j) * to.bit_width / 8;
  std::uint8_t* const out = to.data + s.i * to.stride + first;
  const bool packed = to.bit_width < 8;
  job.epilogues.to_codes({s.acc, size(s.stride), size(s.rows), size(s.cols),
                          job.additions == nullptr ? nullptr : job.additions + s.j},
                         {to.multiplier + s.j, to.shift + s.j, to.zero_point, to.lo, to.hi},
                         packed ? scratch : out, packed ? s.cols : to.stride);
  for (std::int64_t i = 0; packed && i < s.rows; ++i)
    job.bits.pack(scratch + i * s.cols, size(s.cols), to.bit_width, out + i * to.stride);
}

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
    const Sums sums{.acc = sums_,
                    .scaled = reinterpret_cast<const float*>(sums_),
                    .stride = block_panels_ * lanes_,
                    .i = row_ + tile * tiling_.height,
                    .j = column,
                    .rows = tiling_.rows_of(tile),
                    .cols = std::min(panels * lanes_, job_.w.n() - column)};
    std::visit([&](const auto& to) { write(job_, to, sums, codes_); }, job_.out);
  }

  // Whole tiles of int32 to which nothing is added need no detour.
  bool goes_straight(std::int64_t tile, std::int64_t panel, std::int64_t panels) const {
    return job_.additions == nullptr && std::holds_alternative<ToInt32>(job_.out) &&
           tile * tiling_.height + tiling_.height_of(tile) <= m_ &&
           (panel_ + panel + panels) * lanes_ <= job_.w.n();
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
      if (goes_straight(first_tile + t, panel, panels)) {
        const auto& to = std::get<ToInt32>(job_.out);
        tile.acc = to.data + (row_ + (first_tile + t) * tiling_.height) * to.stride + job_.column +
                   (panel_ + panel) * lanes_;
        tile.row_stride = size(to.stride);
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
  check(format, w, out);
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
