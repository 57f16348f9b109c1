#include "apps/lab/figures.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "apps/plot/chart.h"

namespace nibble {
namespace {

using Points = std::vector<std::pair<double, double>>;

struct Curve {
  std::string name;
  Color color;
  std::vector<EpochRecord> epochs;
};

std::vector<Curve> curves_of(const LabResults& results) {
  std::vector<Curve> curves;
  const auto add = [&](const char* name, Color color, std::initializer_list<const char*> runs) {
    Curve curve{name, color, {}};
    for (const char* run : runs)
      if (const RunRecord* record = results.find(run))
        curve.epochs.insert(curve.epochs.end(), record->history.begin(), record->history.end());
    if (!curve.epochs.empty()) curves.push_back(curve);
  };
  add("float", colors::blue, {"fp32-e3", "fp32-e6"});
  add("QAT W4", colors::orange, {"qat-w4"});
  add("QAT W4A4B16", colors::green, {"qat-w4a4b16"});
  return curves;
}

bool is_of_sweep(const RunRecord& run) { return run.name == "fp32-e6" || run.name.rfind("sweep-", 0) == 0; }

// Networks by accuracy and what it costs.
struct Scatter {
  struct Point {
    const RunRecord* run;
    double cost;
  };
  const char *title, *cost;
  std::vector<Point> points;
  std::vector<std::string> front;  // names of the points that are joined, by rising cost
};

void draw(const std::filesystem::path& path, const Scatter& scatter) {
  Canvas canvas(1040, 640);
  if (scatter.points.empty()) return canvas.save(path);
  double low = 1, high = 0, least = 1e30, most = 0;
  for (const auto& [run, cost] : scatter.points) {
    low = std::min(low, run->accuracy_ci95()[0]);
    high = std::max(high, run->accuracy_ci95()[1]);
    least = std::min(least, cost);
    most = std::max(most, cost);
  }
  Chart chart(canvas, {10, 6, 1030, 634}, scatter.title,
              {.title = scatter.cost, .low = least, .high = most * 1.04, .log2 = true},
              {"test accuracy", low, high});
  const auto& names = scatter.front;
  Points front;
  for (const std::string& name : names)
    for (const auto& [run, cost] : scatter.points)
      if (run->name == name) front.emplace_back(cost, run->accuracy());
  chart.polyline(front, colors::vermilion, true, false);
  std::vector<Chart::Label> labels;
  for (const auto& [run, cost] : scatter.points) {
    const bool best = std::find(names.begin(), names.end(), run->name) != names.end();
    const Color color = best ? colors::vermilion : colors::blue;
    const auto [from, to] = run->accuracy_ci95();
    chart.error_bar(cost, from, to, color);
    chart.point(cost, run->accuracy(), color, best ? 5.5 : 4.5);
    labels.push_back(
        {cost, run->accuracy(), from, to,
         run->weight_bits == 32 ? "(32, 32) float" : fmt::format("({}, {})", run->act_bits, run->weight_bits),
         best ? colors::vermilion : colors::black});
  }
  chart.label(labels);
  if (front.empty())
    chart.legend({{"bars: 95 % interval", colors::blue}}, Chart::Corner::bottom_right);
  else
    chart.legend({{"Pareto front", colors::vermilion, true}, {"bars: 95 % interval", colors::blue}},
                 Chart::Corner::bottom_right);
  canvas.save(path);
}

}  // namespace

void draw_curves(const std::filesystem::path& path, const LabResults& results) {
  const std::vector<Curve> curves = curves_of(results);
  Canvas canvas(1320, 520);
  double low[2] = {1e30, 1e30}, high[2] = {-1e30, -1e30};
  int first = 1 << 30, last = 0;
  for (const Curve& curve : curves) {
    for (const EpochRecord& e : curve.epochs) {
      const double values[2][2] = {{e.train_loss, e.test_loss}, {e.train_accuracy, e.test_accuracy}};
      for (int panel = 0; panel < 2; ++panel) {
        low[panel] = std::min({low[panel], values[panel][0], values[panel][1]});
        high[panel] = std::max({high[panel], values[panel][0], values[panel][1]});
      }
      first = std::min(first, e.epoch);
      last = std::max(last, e.epoch);
    }
  }
  if (curves.empty()) return canvas.save(path);
  std::vector<Chart::Key> keys;
  for (const Curve& curve : curves) {
    keys.push_back({curve.name + ", test", curve.color, false});
    keys.push_back({curve.name + ", train", curve.color, true});
  }
  for (int panel = 0; panel < 2; ++panel) {
    Chart chart(canvas, {20.0 + 650 * panel, 6, 660.0 + 650 * panel, 514},
                panel == 0 ? "Loss by epoch" : "Accuracy by epoch", {"epoch", first - 0.3, last + 0.3, true},
                {panel == 0 ? "cross entropy" : "accuracy", low[panel], high[panel]});
    for (bool test : {false, true}) {
      for (const Curve& curve : curves) {
        Points points;
        for (const EpochRecord& e : curve.epochs)
          points.emplace_back(e.epoch, panel == 0 ? (test ? e.test_loss : e.train_loss)
                                                  : (test ? e.test_accuracy : e.train_accuracy));
        chart.polyline(points, curve.color, !test);
      }
    }
    chart.legend(keys, panel == 0 ? Chart::Corner::top_right : Chart::Corner::bottom_right);
  }
  canvas.save(path);
}

void draw_weights(const std::filesystem::path& path, const LabResults& results) {
  const auto& layers = results.ptq.layers;
  const auto panels = static_cast<int>(std::max<std::size_t>(layers.size(), 1));
  Canvas canvas(470 * panels + 20, 480);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto& layer = layers[i];
    double reach = 0;
    for (float w : layer.weights) reach = std::max(reach, std::abs(static_cast<double>(w)));
    for (float w : layer.quantized) reach = std::max(reach, std::abs(static_cast<double>(w)));
    if (reach == 0) reach = 1;
    constexpr int kBins = 48;
    std::vector<double> bins(kBins);
    const double count = static_cast<double>(layer.weights.size()), width = 2 * reach / kBins;
    for (float w : layer.weights)
      bins[static_cast<std::size_t>(
          std::clamp(static_cast<int>((static_cast<double>(w) + reach) / width), 0, kBins - 1))] += 1 / count;
    std::map<float, double> levels;
    for (float w : layer.quantized) levels[w] += 1 / count;
    double top = *std::max_element(bins.begin(), bins.end());
    for (const auto& [level, share] : levels) top = std::max(top, share);
    const double left = 10 + 470.0 * static_cast<double>(i);
    Chart chart(canvas, {left, 6, left + 460, 474}, layer.name, {"weight", -reach, reach},
                {"share of the weights", 0, top * 1.18});
    for (int b = 0; b < kBins; ++b)
      if (bins[static_cast<std::size_t>(b)] > 0)
        chart.bar(-reach + b * width, -reach + (b + 0.92) * width, bins[static_cast<std::size_t>(b)],
                  colors::sky);
    for (const auto& [level, share] : levels) chart.stem(level, share, colors::vermilion);
    chart.legend({{"float", colors::sky}, {"quantized", colors::vermilion}}, Chart::Corner::top_right);
  }
  canvas.save(path);
}

void draw_sweep(const std::filesystem::path& path, const LabResults& results) {
  Scatter scatter{"Memory against accuracy, points labelled (activation bits, weight bits)",
                  "weights and activations, KiB",
                  {},
                  results.pareto()};
  for (const RunRecord& run : results.runs)
    if (is_of_sweep(run)) scatter.points.push_back({&run, run.total_bytes() / 1024});
  draw(path, scatter);
}

void draw_sweep_time(const std::filesystem::path& path, const LabResults& results) {
  Scatter scatter{"Time against accuracy, points labelled (activation bits, weight bits)",
                  "microseconds an image, one thread",
                  {},
                  {}};
  for (const RunRecord& run : results.runs) {
    if (run.integers) scatter.points.push_back({&run, run.integers->microseconds()});
    if (run.name == "fp32-e6" && results.integers && results.integers->float_images_per_second > 0)
      scatter.points.push_back({&run, 1e6 / results.integers->float_images_per_second});
  }
  draw(path, scatter);
}

}  // namespace nibble
