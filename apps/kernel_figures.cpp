#include "apps/kernel_figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/chart.h"
#include "tensor/parallel.h"
#include "tensor/simd/isa.h"

namespace nibble {
namespace {

using Points = std::vector<std::pair<double, double>>;

std::string conditions() {
  return fmt::format("{}, {} thread{}", name_of(active_isa()), num_threads(), num_threads() == 1 ? "" : "s");
}

// A key in a row of them; returns where the next one begins.
double draw_key(Canvas& canvas, double x, double y, const Chart::Key& key) {
  const double middle = y + Canvas::text_height() / 2 - 1;
  double phase = 0;
  if (key.dashed)
    canvas.dashed_line(x, middle, x + 30, middle, 2, key.color, phase);
  else
    canvas.line(x, middle, x + 30, middle, 2.4, key.color);
  canvas.text(x + 38, y, key.text, colors::black);
  return x + 38 + Canvas::text_width(key.text) + 28;
}

// ---- Rooflines.

struct Roof {
  std::string name;
  double rate;  // operations, or bytes, per second
  Color color;
};

std::vector<Roof> compute_roofs(const KernelLimits& limits) {
  std::vector<Roof> roofs = {{"float32", limits.peak_flops, colors::black},
                             {"bytes", limits.peaks.bytes, colors::blue}};
  if (std::abs(limits.peaks.codes / limits.peaks.bytes - 1) > 0.1)
    roofs.push_back({"weights below 8 bits", limits.peaks.codes, colors::orange});
  roofs.push_back({"single bits", limits.peaks.bits, colors::green});
  return roofs;
}

std::vector<Roof> bandwidth_roofs(const KernelResults& results) {
  constexpr Color kColors[] = {colors::purple, colors::sky, colors::grey, colors::vermilion};
  constexpr const char* kLevels[] = {"L1", "L2", "L3", "memory"};
  std::vector<Roof> roofs;
  // The largest footprint measured in every level.
  for (const auto& [bytes, rate] : results.limits.bandwidth.table())
    for (std::size_t level = 0; level < std::size(kLevels); ++level)
      if (results.caches.holding(bytes) == std::string(kLevels[level])) {
        const Roof roof{kLevels[level], rate, kColors[level]};
        if (!roofs.empty() && roofs.back().name == roof.name)
          roofs.back() = roof;
        else
          roofs.push_back(roof);
      }
  return roofs;
}

Color color_of(const KernelCell& cell) {
  if (cell.family == "sgemm") return colors::black;
  return cell.family == "dot" ? colors::blue : colors::green;
}

struct Mark {
  double intensity, gops;
  const KernelCell* cell;
  bool cold;
};

std::vector<Mark> marks_of(const KernelReport& report) {
  std::vector<Mark> marks;
  const double operations = report.shape.operations();
  for (const KernelCell& cell : report.cells) {
    marks.push_back({operations / cell.bytes, 1e-9 * operations / cell.hot.seconds, &cell, false});
    if (cell.cold)
      marks.push_back({operations / cell.bytes, 1e-9 * operations / cell.cold->seconds, &cell, true});
  }
  return marks;
}

// Marks that all but coincide have one label: "w4 a8,4,2,1".
std::vector<Chart::Label> labels_of(const Chart& chart, const std::vector<Mark>& marks) {
  constexpr double kClose = 16;  // pixels
  struct Group {
    Mark first;
    std::string text;
  };
  std::vector<Group> groups;
  for (const Mark& mark : marks) {
    const auto close = [&](const Group& group) {
      return mark.cell->weight_bits == group.first.cell->weight_bits &&
             mark.cell->family == group.first.cell->family && mark.cold == group.first.cold &&
             std::abs(chart.px(mark.intensity) - chart.px(group.first.intensity)) < kClose &&
             std::abs(chart.py(mark.gops) - chart.py(group.first.gops)) < kClose;
    };
    const auto group = std::find_if(groups.begin(), groups.end(), close);
    if (group != groups.end())
      group->text += fmt::format(",{}", mark.cell->act_bits);
    else
      groups.push_back({mark, mark.cell->weight_bits == kFloatBits
                                  ? "float32"
                                  : fmt::format("w{}a{}", mark.cell->weight_bits, mark.cell->act_bits)});
  }
  std::vector<Chart::Label> labels;
  for (const Group& group : groups)
    labels.push_back({group.first.intensity, group.first.gops, group.first.gops, group.first.gops, group.text,
                      color_of(*group.first.cell)});
  return labels;
}

void draw_roofs(Chart& chart, const KernelResults& results) {
  const auto [left, right] = chart.x_range();
  const auto [bottom, top] = chart.y_range();
  double highest = 0;
  for (const Roof& roof : compute_roofs(results.limits)) {
    const double y = 1e-9 * roof.rate;
    highest = std::max(highest, y);
    if (y > bottom && y < top) chart.polyline({{left, y}, {right, y}}, roof.color, true, false);
  }
  for (const Roof& roof : bandwidth_roofs(results)) {
    const double slope = 1e-9 * roof.rate;  // GOP/s at one operation a byte
    const double from = std::max(left, bottom / slope), to = std::min(right, std::min(top, highest) / slope);
    if (from < to) chart.polyline({{from, slope * from}, {to, slope * to}}, roof.color, false, false);
  }
}

void draw_roofline_panel(Canvas& canvas, const Chart::Frame& frame, const KernelReport& report,
                         const KernelResults& results) {
  const std::vector<Mark> marks = marks_of(report);
  double x0 = 1e30, x1 = 0, y0 = 1e30, y1 = 1e-9 * results.limits.peaks.bits * 1.2;
  for (const Mark& mark : marks) {
    x0 = std::min(x0, mark.intensity), x1 = std::max(x1, mark.intensity);
    y0 = std::min(y0, mark.gops), y1 = std::max(y1, mark.gops);
  }
  Chart chart(canvas, frame, report.shape.name(),
              {.title = "operations per byte of weights, activations and results",
               .low = x0 / 1.5,
               .high = x1 * 1.8,
               .log10 = true},
              {.title = "GOP/s", .low = y0 / 1.5, .high = y1, .log10 = true});
  draw_roofs(chart, results);
  for (const Mark& mark : marks) {
    chart.point(mark.intensity, mark.gops, color_of(*mark.cell), 5);
    if (mark.cold) chart.point(mark.intensity, mark.gops, colors::white, 3);
  }
  chart.label(labels_of(chart, marks));
}

void draw_roofline(const std::filesystem::path& path, const KernelResults& results) {
  constexpr int kWidth = 800, kHeight = 560, kTop = 118;
  const auto count = static_cast<int>(results.reports.size()), columns = std::min(count, 2),
             rows = (count + columns - 1) / columns;
  Canvas canvas(std::max(columns * kWidth, 1240), kTop + rows * kHeight);
  constexpr double kTitle = 2.4;
  canvas.text(20, 12, "Roofline: w = bits of weights, a = bits of activations; " + conditions(),
              colors::black, kTitle);
  double x = 20;
  for (const Roof& roof : compute_roofs(results.limits))
    x = draw_key(canvas, x, 46,
                 {fmt::format("{} {:.0f} GOP/s", roof.name, 1e-9 * roof.rate), roof.color, true});
  x = 20;
  for (const Roof& roof : bandwidth_roofs(results))
    x = draw_key(canvas, x, 70, {fmt::format("{} {:.0f} GB/s", roof.name, 1e-9 * roof.rate), roof.color});
  x = 20;
  const auto key = [&](const std::string& text, Color color, bool ring) {
    canvas.circle(x + 6, 101, 5, color);
    if (ring) canvas.circle(x + 6, 101, 3, colors::white);
    canvas.text(x + 20, 94, text, colors::black);
    x += 48 + Canvas::text_width(text);
  };
  key("products of bytes", colors::blue, false);
  key("bit-serial", colors::green, false);
  key("float32", colors::black, false);
  if (results.cold_bytes > 0) key("ring: weights from memory", colors::grey, true);
  for (int i = 0; i < count; ++i) {
    const double left = i % columns * kWidth, top = kTop + i / columns * kHeight;
    draw_roofline_panel(canvas, {left + 6, top, left + kWidth - 6, top + kHeight - 8},
                        results.reports[static_cast<std::size_t>(i)], results);
  }
  canvas.save(path);
}

// ---- Speed by layer size.

struct Line {
  std::string name;
  int weight_bits, act_bits;
  Color color;
  bool dashed;
};
const std::vector<Line> kLines = {{"1 bit, act. 1 bit (bit-serial)", 1, 1, colors::green, true},
                                  {"1 bit", 1, 8, colors::green, false},
                                  {"2 bits", 2, 8, colors::orange, false},
                                  {"4 bits", 4, 8, colors::vermilion, false},
                                  {"8 bits", 8, 8, colors::blue, false},
                                  {"float32", kFloatBits, kFloatBits, colors::black, true}};

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
  Chart chart(
      canvas, {8, 6, 1170, 694},
      fmt::format("Speed against 8-bit weights, batch {} ({}, weights hot)", batch, conditions()),
      {.title = "layer size n = k",
       .low = static_cast<double>(sizes.front()),
       .high = static_cast<double>(sizes.back()),
       .log2 = true},
      {.title = "times as fast as 8-bit weights and activations", .low = low, .high = high, .log2 = true});
  draw_cache(canvas, chart, "L1", results.caches.l1);
  draw_cache(canvas, chart, "L2", results.caches.l2);
  std::vector<Chart::Label> labels;
  std::vector<Chart::Key> keys;
  for (std::size_t i = 0; i < kLines.size(); ++i) {
    const Line& line = kLines[i];
    Points points;
    for (std::size_t j = 0; j < sizes.size(); ++j)
      points.emplace_back(static_cast<double>(sizes[j]), curves[i].speedup[j]);
    chart.polyline(points, line.color, line.dashed);
    keys.push_back({line.name, line.color, line.dashed});
    if (line.weight_bits >= 8 || line.act_bits < 8) continue;
    const auto from = curves[i].crossover();
    if (!from) {
      keys.back().text += ": never faster";
      continue;
    }
    keys.back().text += fmt::format(": faster from {}", *from);
    const auto at = static_cast<std::size_t>(std::find(sizes.begin(), sizes.end(), *from) - sizes.begin());
    chart.point(points[at].first, points[at].second, line.color, 8);
    chart.point(points[at].first, points[at].second, colors::white, 5);
    labels.push_back({points[at].first, points[at].second, points[at].second, points[at].second,
                      fmt::format("{} pay{} from {}", line.name, line.weight_bits == 1 ? "s" : "", *from),
                      line.color});
  }
  chart.label(labels);
  chart.legend(keys, Chart::Corner::top_left);
  canvas.save(path);
}

}  // namespace

void draw_kernels(const std::filesystem::path& folder, const KernelResults& results) {
  draw_roofline(folder / kRooflineFigure, results);
  draw_layers(folder / kLayersFigure, results, kLayerBatches[0]);
  draw_layers(folder / kBatchFigure, results, kLayerBatches[1]);
}

}  // namespace nibble
