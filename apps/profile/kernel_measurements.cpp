#include "apps/profile/kernel_measurements.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <stdexcept>

#include "apps/profile/timing.h"
#include "quant/tiling.h"
#include "tensor/storage.h"

namespace nibble {
namespace {

using quant::PackedMatrix;
using quant::QGemmMethod;
using quant::WeightForm;

constexpr std::array kWidths = {8, 4, 2, 1};

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

std::string form_reason(const PackedMatrix& w, const quant::Tiling& tiling) {
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
    measure_parts();
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
    const quant::Tiling tiling(w, shape().m, act_bits);
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
    for (int turn = 0; turn < kTurns; ++turn)
      for (std::size_t i = 0; i < cells_.size(); ++i)
        best[i] = std::min(best[i], seconds_per_call(options_.budget / kTurns, [&] {
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
    double seconds = seconds_per_call(options_.budget / kColdTurns, multiply);
    if (c.cold) seconds = std::min(seconds, c.cold->seconds);
    c.cold = timing(c, seconds, c.weight_bytes, options_.cold_bytes);
  }

  // The copies of some weights serve all cells that read the same bytes.
  void measure_cold() {
    {
      ColdCopies<PackedB> copies(cells_[0].weight_bytes, options_.cold_bytes,
                                 [&] { return operands_.float_weights(); });
      for (int turn = 0; turn < kColdTurns; ++turn)
        measure_cold(cells_[0], [&] { operands_.multiply(copies.next()); });
    }
    trim_pool();
    for (const int bits : kWidths)
      for (const QGemmMethod method : {QGemmMethod::dot, QGemmMethod::bitserial}) {
        measure_cold(bits, method);
        trim_pool();
      }
  }
  void measure_cold(int bits, QGemmMethod method) {
    std::optional<ColdCopies<PackedMatrix>> copies;
    for (int turn = 0; turn < kColdTurns; ++turn)
      for (std::size_t i = 0; i < weights_.size(); ++i) {
        const PackedMatrix& w = weights_[i];
        if (w.options().bit_width != bits || w.method() != method) continue;
        // The widest activations come first: weights packed for them take all others.
        KernelCell& c = cells_[i + 1];
        if (!copies) copies.emplace(c.weight_bytes, options_.cold_bytes, [&] { return w.clone(); });
        measure_cold(c, [&] { operands_.multiply(copies->next(), c.act_bits); });
      }
  }

  void measure_parts() {
    for (int turn = 0; turn < kTurns; ++turn)
      for (std::size_t i = 0; i < weights_.size(); ++i) {
        std::optional<KernelParts>& best = cells_[i + 1].parts;
        const KernelParts parts = nibble::measure_parts(operands_, weights_[i], options_.budget / 4 / kTurns);
        if (!best) best = parts;
        best->rows = std::min(best->rows, parts.rows);
        best->kernel = std::min(best->kernel, parts.kernel);
        best->unpack = std::min(best->unpack, parts.unpack);
      }
    const double bytes = cells_[1].parts->kernel;
    for (std::size_t i = 0; i < weights_.size(); ++i) {
      KernelParts& parts = *cells_[i + 1].parts;
      if (!parts.expanded && weights_[i].method() == QGemmMethod::dot && cells_[i + 1].weight_bits < 8)
        parts.unpack = std::max(0.0, parts.kernel - bytes);
    }
  }

  static constexpr int kColdTurns = 3;

  KernelOperands operands_;
  const KernelLimits& limits_;
  const MeasureOptions& options_;
  PackedB floats_;
  std::vector<PackedMatrix> weights_;  // of cells_, from the second on
  std::vector<KernelCell> cells_;
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

}  // namespace nibble
