#include "apps/profile/kernel_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/plot/chart.h"
#include "apps/profile/kernel_roofline.h"
#include "tensor/parallel.h"
#include "tensor/simd/isa.h"

namespace nibble {
namespace {

using Points = std::vector<std::pair<double, double>>;

std::string conditions() {
  return fmt::format("{}, {} thread{}", name_of(active_isa()), num_threads(), num_threads() == 1 ? "" : "s");
}

struct Line {
  std::string name;
  int weight_bits, act_bits;
  Color color;
  bool dashed;

  // Fewer bits of weights, all else the same.
  bool is_compared() const { return weight_bits < 8 && act_bits == 8; }
};
const std::vector<Line> kLines = {{"float32", kFloatBits, kFloatBits, colors::black, true},
                                  {"8 bits", 8, 8, colors::blue, false},
                                  {"4 bits", 4, 8, colors::vermilion, false},
                                  {"2 bits", 2, 8, colors::orange, false},
                                  {"1 bit", 1, 8, colors::green, false},
                                  {"1 bit, activations 1 bit", 1, 1, colors::green, true}};

// Where weights of 8 bits outgrow a cache.
void draw_cache(Canvas& canvas, const Chart& chart, const char* name, std::size_t bytes) {
  const double size = std::sqrt(static_cast<double>(bytes));
  const auto [left, right] = chart.x_range();
  if (size <= left || size >= right) return;
  const auto [low, high] = chart.y_range();
  const double x = chart.px(size);
  double phase = 0;
  canvas.dashed_line(x, chart.py(high), x, chart.py(low), 1.5, colors::grey, phase);
  canvas.text(x + 6, chart.py(low) - Canvas::text_height() - 6, fmt::format("8 bits leave {}", name),
              colors::grey);
}

// Labels are to keep off the lines, too.
void reserve_line(const Points& points, std::vector<Chart::Label>& labels) {
  constexpr int kSteps = 24;
  for (std::size_t i = 0; i + 1 < points.size(); ++i)
    for (int step = 0; step <= kSteps; ++step) {
      const auto between = [&](double from, double to) {
        return from * std::pow(to / from, 1.0 * step / kSteps);
      };
      const double y = between(points[i].second, points[i + 1].second);
      labels.push_back({between(points[i].first, points[i + 1].first), y, y, y, "", colors::black});
    }
}

// Rings where lines begin to be faster, and one label a size: "from 2048: 4, 2 bits faster".
void mark_crossovers(Chart& chart, const std::vector<LayerCurve>& curves, std::vector<Chart::Label>& labels) {
  for (const std::int64_t size : curves.front().sizes) {
    Chart::Label label{static_cast<double>(size), 1e30, 0, 0, "", colors::black};
    for (std::size_t i = 0; i < kLines.size(); ++i) {
      if (!kLines[i].is_compared() || curves[i].crossover() != size) continue;
      const double y = curves[i].at(size);
      chart.point(label.x, y, kLines[i].color, 8);
      chart.point(label.x, y, colors::white, 5);
      label.text += fmt::format("{}{}", label.text.empty() ? "" : ", ", kLines[i].weight_bits);
      label.y = label.low = label.high = std::min(label.y, y);
    }
    if (label.text.empty()) continue;
    label.text = fmt::format("from {}: {} {} faster", size, label.text, label.text == "1" ? "bit" : "bits");
    labels.push_back(label);
  }
}

void draw_layers(const std::filesystem::path& path, const KernelResults& results, std::int64_t batch) {
  Canvas canvas(1180, 700);
  std::vector<LayerCurve> curves;
  double low = 1, high = 1;
  for (const Line& line : kLines) {
    curves.push_back(curve_of(results.layers, batch, line.weight_bits, line.act_bits));
    for (const double speedup : curves.back().speedup)
      low = std::min(low, speedup), high = std::max(high, speedup);
  }
  const std::vector<std::int64_t>& sizes = curves.front().sizes;
  Chart chart(canvas, {8, 6, 1170, 694},
              fmt::format("Speed against 8-bit weights, batch {} ({}, weights hot)", batch, conditions()),
              {.title = "layer size n = k",
               .low = static_cast<double>(sizes.front()),
               .high = static_cast<double>(sizes.back()),
               .log2 = true},
              {.title = "times as fast as 8 bits", .low = low, .high = high, .log2 = true});
  draw_cache(canvas, chart, "L1", results.caches.l1);
  draw_cache(canvas, chart, "L2", results.caches.l2);
  std::vector<Chart::Label> labels;
  std::vector<Chart::Key> keys;
  for (std::size_t i = 0; i < kLines.size(); ++i) {
    const Line& line = kLines[i];
    Points points;
    for (const std::int64_t size : sizes) points.emplace_back(static_cast<double>(size), curves[i].at(size));
    chart.polyline(points, line.color, line.dashed);
    reserve_line(points, labels);
    std::string name = line.name;
    if (line.is_compared()) {
      const auto from = curves[i].crossover();
      name += from ? fmt::format(": faster than 8 from {}", *from) : ": never faster than 8";
    }
    keys.push_back({name, line.color, line.dashed});
  }
  mark_crossovers(chart, curves, labels);
  chart.label(labels);
  chart.legend(keys, Chart::Corner::top_left);
  canvas.save(path);
}

}  // namespace

void draw_kernels(const std::filesystem::path& folder, const KernelResults& results) {
  draw_roofline(folder / kRooflineFigure, results, conditions());
  draw_layers(folder / kLayersFigure, results, kLayerBatches[0]);
  draw_layers(folder / kBatchFigure, results, kLayerBatches[1]);
}

}  // namespace nibble
