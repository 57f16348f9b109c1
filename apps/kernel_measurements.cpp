#include "apps/kernel_measurements.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "apps/timing.h"
#include "quant/kernels/bits.h"
#include "tensor/storage.h"

namespace nibble {
namespace {

using quant::PackedMatrix;
using quant::QGemmKernels;
using quant::QGemmMethod;
using quant::WeightForm;

constexpr std::array kWidths = {8, 4, 2, 1};

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }
std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

// The tiles that qgemm cuts the rows of one thread into.
struct Tiling {
  std::int64_t height = 0, tiles = 0;
  bool fits_int16;
  WeightForm form;

  Tiling(const PackedMatrix& w, std::int64_t m) {
    std::int64_t least = 0;
    for (const std::size_t* count = w.kernels().row_counts; *count != 0; ++count) {
      const auto rows = static_cast<std::int64_t>(*count);
      const std::int64_t cost = divide_up(m, rows) * (rows + 1);
      if (height == 0 || cost <= least) least = cost, height = rows;
    }
    tiles = divide_up(m, height);
    fits_int16 = w.options().bit_width < 8 || 255 * w.max_pair() <= 32767;
    form = w.kernels().best_form(w.options().bit_width, fits_int16, size(height), size(tiles));
  }
};

const char* name_of_form(WeightForm form) {
  return form == WeightForm::packed ? "packed" : form == WeightForm::bytes ? "bytes" : "words";
}

std::string family_reason(const PackedMatrix& w, int act_bits) {
  const int bits = w.options().bit_width;
  if (w.method() == QGemmMethod::bitserial)
    return fmt::format("{} x {} bit planes: counting ones beats products of bytes on {}", bits, act_bits,
                       name_of(w.isa()));
  if (bits > 2 || act_bits > 2) return "bit planes serve at most 2 bits by 2";
  return fmt::format("{} x {} bit planes would cost {} counts a product, more than bytes on {}", bits,
                     act_bits, bits * act_bits, name_of(w.isa()));
}

std::string form_reason(const PackedMatrix& w, const Tiling& tiling) {
  if (w.method() == QGemmMethod::bitserial) return "bits are not unpacked";
  switch (tiling.form) {
    case WeightForm::bytes:
      return fmt::format("unpacked once for {} tiles of {} rows", tiling.tiles, tiling.height);
    case WeightForm::words:
      return fmt::format(
          "int16, once for {} tiles of {} rows: sums of any bytes are exact without dot "
          "instructions",
          tiling.tiles, tiling.height);
    default:
      if (w.options().bit_width == 8) return "bytes are what the products take";
      return fmt::format("unpacked in registers: {} row{} share{} it", tiling.height,
                         tiling.height == 1 ? "" : "s", tiling.height == 1 ? "s" : "");
  }
}

// Every row of activations to the form of the kernel, tile by tile.
double rows_seconds(const KernelOperands& operands, const PackedMatrix& w, int act_bits, const Tiling& tiling,
                    double budget) {
  const QGemmKernels& kernels = w.kernels();
  const quant::BitsKernels& bits = quant::bits_kernels(w.isa());
  const std::int64_t m = operands.shape().m, k = operands.shape().k,
                     stride = operands.activation_stride(act_bits);
  const auto packed =
      Storage::allocate(kernels.row_bytes(size(tiling.height), size(k), act_bits, tiling.form));
  const auto bytes = Storage::allocate(size(tiling.height * k));
  std::vector<std::int32_t> init(size(tiling.height));
  std::vector<const std::uint8_t*> rows(size(tiling.height));
  return seconds_per_call(budget, [&] {
    for (std::int64_t first = 0; first < m; first += tiling.height) {
      const std::int64_t count = std::min(tiling.height, m - first);
      for (std::int64_t i = 0; i < count; ++i) {
        const std::uint8_t* const row = operands.activations() + (first + i) * stride;
        auto* const scratch = reinterpret_cast<std::uint8_t*>(bytes->data()) + i * k;
        if (act_bits < 8) bits.unpack(row, size(k), act_bits, scratch);
        rows[size(i)] = act_bits < 8 ? scratch : row;
      }
      kernels.pack_rows(
          {.rows = rows.data(),
           .count = size(count),
           .tile_rows = size(tiling.height),
           .k = size(k),
           .act_bits = act_bits,
           .act_step = 1,
           .flip = static_cast<std::uint8_t>(act_bits == 8 && kernels.signed_activations ? 0x80 : 0),
           .form = tiling.form,
           .group = size(k),
           .weight_zero_point = w.stored_zero_point()},
          packed->data(), init.data());
    }
  });
}

double expand_seconds(const PackedMatrix& w, WeightForm form, double budget) {
  const QGemmKernels& kernels = w.kernels();
  const auto out = Storage::allocate(kernels.expanded_bytes(size(w.k()), form));
  const std::int64_t panels = divide_up(w.n(), static_cast<std::int64_t>(kernels.lanes));
  return seconds_per_call(budget, [&] {
    for (std::int64_t p = 0; p < panels; ++p)
      kernels.expand_panel(w.panel(p), size(w.k()), w.options().bit_width, form, out->data());
  });
}

// The innermost kernel for all tiles and panels of a product, timed on a few panels so shallow that they stay
// in L1.
double kernel_seconds(const PackedMatrix& w, int act_bits, const KernelShape& shape, const Tiling& tiling,
                      double budget) {
  const QGemmKernels& kernels = w.kernels();
  const int bits = w.options().bit_width;
  // Four panels of 16 columns are 24 KiB, less than any L1; planes of bits are deeper in as much.
  const std::size_t deepest = w.method() == QGemmMethod::dot ? 384 : 2048;
  const std::size_t k = std::min(size(shape.k), deepest), height = size(tiling.height);
  const std::int64_t panels = divide_up(shape.n, static_cast<std::int64_t>(kernels.lanes));
  const std::size_t width = std::min(kernels.max_panels, size(panels));
  const std::size_t stride = tiling.form == WeightForm::packed ? kernels.panel_bytes(bits, k)
                                                               : kernels.expanded_bytes(k, tiling.form);
  const auto zeros = [](std::size_t bytes) {
    auto storage = Storage::allocate(bytes);
    std::fill_n(storage->data(), bytes, std::byte{0});
    return storage;
  };
  const auto a = zeros(kernels.row_bytes(height, k, act_bits, tiling.form)), panel = zeros(width * stride);
  std::vector<std::int32_t> init(height), acc(height * width * kernels.lanes);
  const quant::QGemmTile tile{.rows = height,
                              .panels = width,
                              .k = k,
                              .weight_bits = bits,
                              .act_bits = act_bits,
                              .act_step = 1,
                              .form = tiling.form,
                              .fits_int16 = tiling.fits_int16,
                              .a = a->data(),
                              .w = panel->data(),
                              .panel_stride = stride,
                              .init = init.data(),
                              .acc = acc.data(),
                              .group = 0,
                              .group_scale = nullptr,
                              .group_scale_stride = 0,
                              .sum = nullptr};
  const double seconds = seconds_per_call(budget, [&] { kernels.run(tile); });
  return seconds * static_cast<double>(tiling.tiles) * static_cast<double>(panels) /
         static_cast<double>(width) * static_cast<double>(shape.k) / static_cast<double>(k);
}

// Programs that disturb come and go: subjects take turns, several times, and each keeps its best.
constexpr int kRounds = 8;

// Measures the cells of one shape.
class ShapeMeasurement {
 public:
  ShapeMeasurement(const KernelShape& shape, const KernelLimits& limits, const MeasureOptions& options)
      : operands_(shape), limits_(limits), options_(options), floats_(operands_.float_weights()) {
    cells_.push_back(float_cell());
    for (const int weight_bits : kWidths)
      for (const int act_bits : kWidths) {
        weights_.push_back(operands_.weights(weight_bits, act_bits));
        cells_.push_back(integer_cell(weights_.back()));
      }
  }

  KernelReport run() {
    measure_hot();
    if (options_.cold_bytes > 0 && static_cast<double>(shape().n * shape().k) >= options_.cold_from)
      measure_cold();
    for (std::size_t i = 0; i < weights_.size(); ++i) cells_[i + 1].parts = parts_of(weights_[i]);
    return {shape(), cells_};
  }

 private:
  const KernelShape& shape() const { return operands_.shape(); }

  KernelCell cell(int weight_bits, int act_bits, double weight_bytes, double row_bytes) const {
    KernelCell c{};
    c.weight_bits = weight_bits;
    c.act_bits = act_bits;
    c.weight_bytes = weight_bytes;
    c.bytes =
        weight_bytes + static_cast<double>(shape().m) * (row_bytes + 4 * static_cast<double>(shape().n));
    return c;
  }
  KernelCell float_cell() const {
    const double row = 4 * static_cast<double>(shape().k);
    KernelCell c = cell(kFloatBits, kFloatBits, row * static_cast<double>(shape().n), row);
    c.family = "sgemm";
    c.family_reason = "the baseline";
    c.form = "float32";
    c.form_reason = "packed once, as the weights of a layer";
    c.lanes = 1;
    c.peak = limits_.peak_flops;
    return c;
  }
  KernelCell integer_cell(const PackedMatrix& w) const {
    const int bits = w.options().bit_width, act_bits = w.options().act_bits;
    KernelCell c = cell(bits, act_bits, static_cast<double>(w.bytes()),
                        static_cast<double>(operands_.activation_stride(act_bits)));
    const bool is_dot = w.method() == QGemmMethod::dot;
    const Tiling tiling(w, shape().m);
    c.family = is_dot ? "dot" : "bit-serial";
    c.family_reason = family_reason(w, act_bits);
    c.form = name_of_form(tiling.form);
    c.form_reason = form_reason(w, tiling);
    c.lanes = static_cast<std::int64_t>(w.kernels().lanes);
    c.peak = !is_dot    ? limits_.peaks.bits / (bits * act_bits)
             : bits < 8 ? limits_.peaks.codes
                        : limits_.peaks.bytes;
    return c;
  }

  KernelTiming timing(const KernelCell& c, double seconds, double bytes, double footprint) const {
    return {seconds,
            {shape().operations() / seconds / c.peak, bytes / seconds / limits_.bandwidth.of(footprint)}};
  }

  void measure_hot() {
    std::vector<double> best(cells_.size(), 1e30);
    for (int round = 0; round < kRounds; ++round)
      for (std::size_t i = 0; i < cells_.size(); ++i)
        best[i] = std::min(best[i], seconds_per_call(options_.budget / kRounds, [&] {
                             if (i == 0)
                               operands_.multiply(floats_);
                             else
                               operands_.multiply(weights_[i - 1], cells_[i].act_bits);
                           }));
    for (std::size_t i = 0; i < cells_.size(); ++i)
      cells_[i].hot = timing(cells_[i], best[i], cells_[i].bytes, cells_[i].bytes);
  }

  // Activations and results are in caches still.
  template <class Multiply>
  void measure_cold(KernelCell& c, Multiply multiply) {
    const double seconds = seconds_per_call(options_.budget, multiply);
    c.cold = timing(c, seconds, c.weight_bytes, options_.cold_bytes);
  }

  // The copies of some weights serve all cells that read the same bytes.
  void measure_cold() {
    {
      ColdCopies<PackedB> copies(cells_[0].weight_bytes, options_.cold_bytes,
                                 [&] { return operands_.float_weights(); });
      measure_cold(cells_[0], [&] { operands_.multiply(copies.next()); });
    }
    for (const int bits : kWidths)
      for (const QGemmMethod method : {QGemmMethod::dot, QGemmMethod::bitserial}) {
        trim_pool();
        std::optional<ColdCopies<PackedMatrix>> copies;
        for (std::size_t i = 0; i < weights_.size(); ++i) {
          const PackedMatrix& w = weights_[i];
          if (w.options().bit_width != bits || w.method() != method) continue;
          // The widest activations come first: weights packed for them take all others.
          KernelCell& c = cells_[i + 1];
          if (!copies) copies.emplace(c.weight_bytes, options_.cold_bytes, [&] { return w.clone(); });
          measure_cold(c, [&] { operands_.multiply(copies->next(), c.act_bits); });
        }
      }
    trim_pool();
  }

  KernelParts parts_of(const PackedMatrix& w) {
    const double budget = options_.budget / 4;
    const int act_bits = w.options().act_bits;
    const Tiling tiling(w, shape().m);
    KernelParts p{};
    p.rows = rows_seconds(operands_, w, act_bits, tiling, budget);
    p.kernel = kernel_seconds(w, act_bits, shape(), tiling, budget);
    p.expanded = tiling.form != WeightForm::packed;
    const bool is_dot = w.method() == QGemmMethod::dot;
    if (is_dot && w.options().bit_width == 8) bytes_kernel_ = std::min(bytes_kernel_, p.kernel);
    if (p.expanded)
      p.unpack = expand_seconds(w, tiling.form, budget);
    else if (is_dot && w.options().bit_width < 8)
      p.unpack = std::max(0.0, p.kernel - bytes_kernel_);
    return p;
  }

  KernelOperands operands_;
  const KernelLimits& limits_;
  const MeasureOptions& options_;
  PackedB floats_;
  std::vector<PackedMatrix> weights_;  // of cells_, from the second on
  std::vector<KernelCell> cells_;
  double bytes_kernel_ = 1e30;  // the innermost kernel on weights of 8 bits, which come first
};

}  // namespace

const KernelCell& KernelReport::at(int weight_bits, int act_bits) const {
  for (const KernelCell& cell : cells)
    if (cell.weight_bits == weight_bits && cell.act_bits == act_bits) return cell;
  throw std::out_of_range(fmt::format("no cell of {} x {} bits", weight_bits, act_bits));
}

double bytes_beyond_caches() {
  constexpr double kMost = 1 << 30, kUnknown = 1 << 28;
  const auto l3 = static_cast<double>(cache_sizes().l3);
  return l3 == 0 ? kUnknown : std::min(kMost, 2 * l3);
}

KernelReport measure_kernels(const KernelShape& shape, const KernelLimits& limits,
                             const MeasureOptions& options) {
  return ShapeMeasurement(shape, limits, options).run();
}

std::vector<LayerSpeed> measure_layers(std::span<const std::int64_t> sizes,
                                       std::span<const std::int64_t> batches, double budget) {
  constexpr std::array<std::pair<int, int>, 5> kWidthPairs = {{{8, 8}, {4, 8}, {2, 8}, {1, 8}, {1, 1}}};
  struct Layer {
    std::vector<KernelOperands> operands;  // of every batch
    PackedB floats;
    std::vector<PackedMatrix> weights;  // of kWidthPairs
  };
  std::vector<Layer> layers;
  std::vector<LayerSpeed> speeds;
  for (const std::int64_t size : sizes) {
    std::vector<KernelOperands> operands;
    for (const std::int64_t batch : batches) operands.emplace_back(KernelShape{batch, size, size});
    std::vector<PackedMatrix> weights;
    for (const auto& [weight_bits, act_bits] : kWidthPairs)
      weights.push_back(operands.front().weights(weight_bits, act_bits));
    PackedB floats = operands.front().float_weights();
    layers.push_back({std::move(operands), std::move(floats), std::move(weights)});
  }
  for (int round = 0; round < kRounds; ++round) {
    std::size_t at = 0;
    const auto measure = [&](const KernelShape& shape, int weight_bits, int act_bits, auto multiply) {
      const double seconds = seconds_per_call(budget / kRounds, multiply);
      if (round == 0) speeds.push_back({shape.n, shape.m, weight_bits, act_bits, seconds});
      speeds[at].seconds = std::min(speeds[at].seconds, seconds);
      ++at;
    };
    for (Layer& layer : layers)
      for (KernelOperands& operands : layer.operands) {
        measure(operands.shape(), kFloatBits, kFloatBits, [&] { operands.multiply(layer.floats); });
        for (std::size_t i = 0; i < kWidthPairs.size(); ++i) {
          const auto [weight_bits, act_bits] = kWidthPairs[i];
          measure(operands.shape(), weight_bits, act_bits,
                  [&, bits = act_bits] { operands.multiply(layer.weights[i], bits); });
        }
      }
  }
  return speeds;
}

double LayerCurve::at(std::int64_t size) const {
  const auto found = std::find(sizes.begin(), sizes.end(), size);
  return speedup.at(static_cast<std::size_t>(found - sizes.begin()));
}

std::optional<std::int64_t> LayerCurve::crossover() const {
  constexpr double kFaster = 1.1;
  std::optional<std::int64_t> from;
  for (std::size_t i = sizes.size(); i-- > 0 && speedup[i] >= kFaster;) from = sizes[i];
  return from;
}

LayerCurve curve_of(std::span<const LayerSpeed> layers, std::int64_t batch, int weight_bits, int act_bits) {
  LayerCurve curve;
  for (const LayerSpeed& bytes : layers)
    for (const LayerSpeed& layer : layers)
      if (bytes.batch == batch && bytes.weight_bits == 8 && layer.batch == batch &&
          layer.size == bytes.size && layer.weight_bits == weight_bits && layer.act_bits == act_bits) {
        curve.sizes.push_back(layer.size);
        curve.speedup.push_back(bytes.seconds / layer.seconds);
      }
  return curve;
}

}  // namespace nibble
