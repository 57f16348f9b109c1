#include "apps/profile/kernel_roofline.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "apps/plot/chart.h"

namespace nibble {
namespace {

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

// The smallest footprint measured in every level: the fastest of it.
std::vector<Roof> bandwidth_roofs(const KernelResults& results) {
  constexpr std::pair<const char*, Color> kLevels[] = {
      {"L1", colors::purple}, {"L2", colors::sky}, {"L3", colors::grey}, {"memory", colors::vermilion}};
  std::vector<Roof> roofs;
  for (const auto& [level, color] : kLevels)
    for (const auto& [bytes, rate] : results.limits.bandwidth.table())
      if (results.caches.holding(bytes) == std::string(level)) {
        roofs.push_back({level, rate, color});
        break;
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

bool near(const Chart& chart, const Mark& a, const Mark& b, double x, double y) {
  return std::abs(chart.px(a.intensity) - chart.px(b.intensity)) < x &&
         std::abs(chart.py(a.gops) - chart.py(b.gops)) < y;
}

// Marks that share a label; all of one family, all hot or all cold.
struct Group {
  std::vector<Mark> marks;

  // "w8a8,4,2,1" or "w4,2,1a8"
  std::string text() const {
    const KernelCell& first = *marks[0].cell;
    if (first.weight_bits == kFloatBits) return "float32";
    std::string weights = fmt::format("w{}", first.weight_bits), acts = fmt::format("a{}", first.act_bits);
    for (const Mark& mark : marks) {
      if (mark.cell->weight_bits != first.weight_bits) weights += fmt::format(",{}", mark.cell->weight_bits);
      if (mark.cell->act_bits != first.act_bits) acts += fmt::format(",{}", mark.cell->act_bits);
    }
    return weights + acts;
  }
};

// Marks on top of each other that differ in weights only, or else, further apart, in activations only.
std::vector<Group> groups_of(const Chart& chart, const std::vector<Mark>& marks) {
  constexpr double kClose = 9, kBeside = 48, kLevel = 14;  // pixels
  const auto are_alike = [](const Mark& a, const Mark& b) {
    return a.cell->family == b.cell->family && a.cold == b.cold;
  };
  std::vector<Group> stacks, groups;
  for (const Mark& mark : marks) {
    const auto stack = std::find_if(stacks.begin(), stacks.end(), [&](const Group& other) {
      const Mark& first = other.marks[0];
      return are_alike(mark, first) && mark.cell->act_bits == first.cell->act_bits &&
             near(chart, mark, first, kClose, kClose);
    });
    if (stack == stacks.end())
      stacks.push_back({{mark}});
    else
      stack->marks.push_back(mark);
  }
  for (const Group& stack : stacks) {
    const Mark& mark = stack.marks[0];
    const auto row = std::find_if(groups.begin(), groups.end(), [&](const Group& other) {
      const Mark &first = other.marks[0], &last = other.marks.back();
      return stack.marks.size() == 1 && are_alike(mark, first) &&
             mark.cell->weight_bits == first.cell->weight_bits &&
             mark.cell->weight_bits == last.cell->weight_bits && near(chart, mark, first, kBeside, kLevel);
    });
    if (row == groups.end())
      groups.push_back(stack);
    else
      row->marks.push_back(mark);
  }
  return groups;
}

// A ring beside the mark of the same product with hot weights needs no label.
bool is_beside_hot(const Chart& chart, const Group& group, const std::vector<Mark>& marks) {
  return std::any_of(group.marks.begin(), group.marks.end(), [&](const Mark& ring) {
    return ring.cold && std::any_of(marks.begin(), marks.end(), [&](const Mark& mark) {
             return !mark.cold && mark.cell == ring.cell && near(chart, mark, ring, 30, 30);
           });
  });
}

std::vector<Chart::Label> labels_of(const Chart& chart, const std::vector<Mark>& marks) {
  std::vector<Chart::Label> labels;
  for (const Group& group : groups_of(chart, marks))
    for (std::size_t i = 0; i < group.marks.size(); ++i) {
      const Mark& mark = group.marks[i];
      labels.push_back({mark.intensity, mark.gops, mark.gops, mark.gops,
                        i == 0 && !is_beside_hot(chart, group, marks) ? group.text() : "",
                        color_of(*mark.cell)});
    }
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

}  // namespace

void draw_roofline(const std::filesystem::path& path, const KernelResults& results,
                   const std::string& conditions) {
  constexpr int kWidth = 800, kHeight = 560, kTop = 118;
  const auto count = static_cast<int>(results.reports.size()), columns = std::min(count, 2),
             rows = (count + columns - 1) / columns;
  Canvas canvas(std::max(columns * kWidth, 1240), kTop + rows * kHeight);
  constexpr double kTitle = 2.4;
  canvas.text(20, 12, "Roofline: w = bits of weights, a = bits of activations; " + conditions, colors::black,
              kTitle);
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
    const int left = i % columns * kWidth, top = kTop + i / columns * kHeight;
    draw_roofline_panel(canvas, {left + 6.0, 1.0 * top, left + kWidth - 6.0, top + kHeight - 8.0},
                        results.reports[static_cast<std::size_t>(i)], results);
  }
  canvas.save(path);
}

}  // namespace nibble
