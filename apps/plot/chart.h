#pragma once

#include <string>
#include <utility>
#include <vector>

#include "apps/plot/canvas.h"

namespace nibble {

// Round numbers (1, 2 or 5 times a power of ten) that cover [low, high] in about `count` steps.
std::vector<double> nice_ticks(double low, double high, int count);

// One set of axes on a canvas: a frame, a grid, ticks, titles, and the mapping from data to pixels. Ranges
// are widened to whole ticks unless told otherwise.
class Chart {
 public:
  struct Frame {
    double left, top, right, bottom;  // of the whole chart, titles included
  };
  struct Axis {
    std::string title;
    double low, high;
    bool integers = false;  // ticks at whole numbers only, range left as it is
    bool log2 = false;      // ticks at powers of two
    bool log10 = false;     // ticks at 1, 2 and 5 times powers of ten
  };
  Chart(Canvas& canvas, const Frame& frame, const std::string& title, const Axis& x, const Axis& y);

  // The whole ticks that the axes were widened to.
  std::pair<double, double> x_range() const { return {x_low_, x_high_}; }
  std::pair<double, double> y_range() const { return {y_low_, y_high_}; }

  double px(double x) const;
  double py(double y) const;

  void polyline(const std::vector<std::pair<double, double>>& points, Color color, bool dashed = false,
                bool markers = true);
  void bar(double x0, double x1, double height, Color color);
  void stem(double x, double height, Color color, double thickness = 2);
  void point(double x, double y, Color color, double radius = 4.5);
  void error_bar(double x, double low, double high, Color color);

  // Labels points so that no label covers another, a marker, an error bar or the frame. A point whose text is
  // empty is only kept free.
  struct Label {
    double x, y, low, high;  // of the point and its error bar
    std::string text;
    Color color;
  };
  void label(const std::vector<Label>& labels);

  struct Key {
    std::string text;
    Color color;
    bool dashed = false;
  };
  enum class Corner { top_left, top_right, bottom_right };
  void legend(const std::vector<Key>& keys, Corner corner);

 private:
  Canvas& canvas_;
  double left_, top_, right_, bottom_;  // the plot area
  bool x_log_, y_log_;
  double x_low_, x_high_, y_low_, y_high_;
};

}  // namespace nibble
