#include "apps/plot/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nibble {

std::vector<double> nice_ticks(double low, double high, int count) {
  if (!(high > low)) high = low + 1;
  const double rough = (high - low) / count, power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10 * power;
  for (double factor : {1.0, 2.0, 5.0})
    if (factor * power >= rough) {
      step = factor * power;
      break;
    }
  std::vector<double> ticks;
  for (double k = std::floor(low / step + 1e-9); k * step <= high + step * (1 - 1e-9); ++k)
    ticks.push_back(k * step);
  return ticks;
}

namespace {

std::string tick_text(double value, double step) {
  const int decimals = std::max(0, static_cast<int>(std::ceil(-std::log10(step) - 1e-9)));
  const std::string text = fmt::format("{:.{}f}", value, decimals);
  return text.find_first_not_of("-0.") == std::string::npos && text[0] == '-' ? text.substr(1) : text;
}

// 1, 2 and 5 times powers of ten that cover [low, high]; powers alone where those would be too many.
std::vector<double> log10_ticks(double low, double high) {
  const bool dense = high / low < 1e4;
  std::vector<double> ticks;
  for (double power = std::pow(10.0, std::floor(std::log10(low)));; power *= 10)
    for (const double factor : {1.0, 2.0, 5.0}) {
      if (factor > 1 && !dense) continue;
      const double tick = factor * power;
      if (tick <= low * (1 + 1e-9)) ticks.clear();
      ticks.push_back(tick);
      if (tick >= high * (1 - 1e-9) && ticks.size() > 1) return ticks;
    }
}

// How far along an axis a value is, 0 to 1.
double share_of(double value, double low, double high, bool log) {
  return log ? std::log(value / low) / std::log(high / low) : (value - low) / (high - low);
}

}  // namespace

Chart::Chart(Canvas& canvas, const Frame& frame, const std::string& title, const Axis& x, const Axis& y)
    : canvas_(canvas),
      left_(frame.left + 82),
      top_(frame.top + 38),
      right_(frame.right - 18),
      bottom_(frame.bottom - 58),
      x_log_(x.log2 || x.log10),
      y_log_(y.log2 || y.log10) {
  const auto ticks_of = [](const Axis& axis, int count) {
    std::vector<double> ticks;
    if (axis.log2) {
      for (double k = std::exp2(std::floor(std::log2(axis.low)));
           ticks.size() < 2 || ticks.back() < axis.high; k *= 2)
        ticks.push_back(k);
      return ticks;
    }
    if (axis.log10) return log10_ticks(axis.low, axis.high);
    if (!axis.integers) return nice_ticks(axis.low, axis.high, count);
    const auto first = static_cast<long>(std::ceil(axis.low)),
               last = static_cast<long>(std::floor(axis.high));
    for (long k = first; k <= last; ++k) ticks.push_back(static_cast<double>(k));
    return ticks;
  };
  const std::vector<double> x_ticks = ticks_of(x, 6), y_ticks = ticks_of(y, 6);
  x_low_ = x.integers ? x.low : x_ticks.front();
  x_high_ = x.integers ? x.high : x_ticks.back();
  y_low_ = y.integers ? y.low : y_ticks.front();
  y_high_ = y.integers ? y.high : y_ticks.back();

  const double half = Canvas::text_height() / 2;
  // Logarithmic ticks have as many decimals as each needs.
  const auto text_of = [](double tick, const std::vector<double>& ticks, bool log) {
    return log ? fmt::format("{:g}", tick) : tick_text(tick, ticks.size() > 1 ? ticks[1] - ticks[0] : 1);
  };
  for (double tick : x_ticks) {
    canvas_.line(px(tick), top_, px(tick), bottom_, 1, colors::light);
    const std::string text = text_of(tick, x_ticks, x_log_);
    canvas_.text(px(tick) - Canvas::text_width(text) / 2, bottom_ + 8, text, colors::black);
  }
  for (double tick : y_ticks) {
    canvas_.line(left_, py(tick), right_, py(tick), 1, colors::light);
    const std::string text = text_of(tick, y_ticks, y_log_);
    canvas_.text(left_ - 8 - Canvas::text_width(text), py(tick) - half, text, colors::black);
  }
  canvas_.line(left_, top_, left_, bottom_, 1.5, colors::black);
  canvas_.line(left_, bottom_, right_, bottom_, 1.5, colors::black);
  constexpr double kTitle = 2.1;
  canvas_.text((left_ + right_) / 2 - Canvas::text_width(title, kTitle) / 2, frame.top + 8, title,
               colors::black, kTitle);
  canvas_.text((left_ + right_) / 2 - Canvas::text_width(x.title) / 2, bottom_ + 32, x.title, colors::black);
  canvas_.vertical_text(frame.left + 4, (top_ + bottom_) / 2 + Canvas::text_width(y.title) / 2, y.title,
                        colors::black);
}

double Chart::px(double x) const { return left_ + (right_ - left_) * share_of(x, x_low_, x_high_, x_log_); }

double Chart::py(double y) const { return bottom_ - (bottom_ - top_) * share_of(y, y_low_, y_high_, y_log_); }

void Chart::polyline(const std::vector<std::pair<double, double>>& points, Color color, bool dashed,
                     bool markers) {
  double phase = 0;
  for (std::size_t i = 0; i + 1 < points.size(); ++i) {
    const double x0 = px(points[i].first), y0 = py(points[i].second), x1 = px(points[i + 1].first),
                 y1 = py(points[i + 1].second);
    if (dashed)
      canvas_.dashed_line(x0, y0, x1, y1, 1.8, color, phase);
    else
      canvas_.line(x0, y0, x1, y1, 2.2, color);
  }
  if (!markers) return;
  for (const auto& [x, y] : points) point(x, y, color, dashed ? 2.5 : 3.5);
}

void Chart::bar(double x0, double x1, double height, Color color) {
  canvas_.rectangle(px(x0), py(height), px(x1), bottom_ - 1, color);
}
void Chart::stem(double x, double height, Color color, double thickness) {
  canvas_.line(px(x), bottom_ - 1, px(x), py(height), thickness, color);
  canvas_.circle(px(x), py(height), thickness * 1.6, color);
}
void Chart::point(double x, double y, Color color, double radius) {
  canvas_.circle(px(x), py(y), radius, color);
}

void Chart::error_bar(double x, double low, double high, Color color) {
  canvas_.line(px(x), py(low), px(x), py(high), 1.2, color);
  for (double end : {low, high}) canvas_.line(px(x) - 3, py(end), px(x) + 3, py(end), 1.2, color);
}

void Chart::label(const std::vector<Label>& labels) {
  struct Box {
    double x0, y0, x1, y1;
    bool overlaps(const Box& o) const { return x0 < o.x1 && o.x0 < x1 && y0 < o.y1 && o.y0 < y1; }
  };
  std::vector<Box> taken;
  for (const Label& l : labels) {
    taken.push_back({px(l.x) - 6, py(l.y) - 6, px(l.x) + 6, py(l.y) + 6});
    taken.push_back({px(l.x) - 3, py(l.high), px(l.x) + 3, py(l.low)});
  }
  for (const Label& l : labels) {
    if (l.text.empty()) continue;
    const double w = Canvas::text_width(l.text), h = Canvas::text_height(), x = px(l.x), y = py(l.y);
    Box best{};
    bool found = false;
    // Rings of growing distance, right and above first.
    for (double distance = 9; distance < 180 && !found; distance += 6) {
      for (double angle : {-0.6, 0.6, -1.57, 1.57, 2.5, -2.5, 0.0, 3.14}) {
        const double cx = x + std::cos(angle) * (distance + w / 2),
                     cy = y + std::sin(angle) * (distance + h / 2);
        const Box box{cx - w / 2 - 2, cy - h / 2 - 2, cx + w / 2 + 2, cy + h / 2 + 2};
        const bool inside = box.x0 > left_ + 2 && box.x1 < right_ && box.y0 > top_ && box.y1 < bottom_ - 2;
        if (!inside || std::any_of(taken.begin(), taken.end(), [&](const Box& b) { return b.overlaps(box); }))
          continue;
        best = box;
        found = true;
        break;
      }
    }
    if (!found) {
      const double left = std::min(x + 8, right_ - w - 2);
      best = {left, y - h / 2, left + w, y + h / 2};
    }
    taken.push_back(best);
    const double cx = (best.x0 + best.x1) / 2, cy = (best.y0 + best.y1) / 2;
    if (std::hypot((cx - x) / (w / 2 + 14), (cy - y) / (h / 2 + 14)) > 1.3)
      canvas_.line(x, y, cx, cy, 0.8, colors::grey);
    canvas_.rectangle(best.x0, best.y0, best.x1, best.y1, colors::white);
    canvas_.text(best.x0 + 2, best.y0 + 2, l.text, l.color);
  }
}

void Chart::legend(const std::vector<Key>& keys, Corner corner) {
  double width = 0;
  const double row = Canvas::text_height() + 6;
  for (const Key& key : keys) width = std::max(width, Canvas::text_width(key.text));
  const double w = width + 54, h = row * static_cast<double>(keys.size()) + 8;
  const double x = corner == Corner::top_left ? left_ + 8 : right_ - w - 6,
               y = corner == Corner::bottom_right ? bottom_ - h - 8 : top_ + 6;
  canvas_.rectangle(x, y, x + w, y + h, colors::grey);
  canvas_.rectangle(x + 1, y + 1, x + w - 1, y + h - 1, colors::white);
  for (std::size_t i = 0; i < keys.size(); ++i) {
    const double at = y + 6 + row * static_cast<double>(i), middle = at + Canvas::text_height() / 2 - 1;
    double phase = 0;
    if (keys[i].dashed)
      canvas_.dashed_line(x + 8, middle, x + 38, middle, 1.8, keys[i].color, phase);
    else
      canvas_.line(x + 8, middle, x + 38, middle, 2.4, keys[i].color);
    canvas_.text(x + 46, at, keys[i].text, colors::black);
  }
}

}  // namespace nibble
