#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace nibble {

struct Color {
  std::uint8_t r, g, b;
};

// Okabe and Ito's palette, which colour-blind readers can tell apart.
namespace colors {
inline constexpr Color black{30, 30, 30}, grey{120, 120, 120}, light{225, 225, 225}, white{255, 255, 255},
    blue{0, 114, 178}, orange{230, 159, 0}, green{0, 158, 115}, vermilion{213, 94, 0}, purple{204, 121, 167},
    sky{86, 180, 233};
}  // namespace colors

// A picture in pixels, origin at the top left; drawn at three times the size and averaged down, so that edges
// are smooth.
class Canvas {
 public:
  Canvas(int width, int height);

  int width() const { return width_; }
  int height() const { return height_; }

  void rectangle(double x0, double y0, double x1, double y1, Color color);
  void line(double x0, double y0, double x1, double y1, double thickness, Color color);
  // Alternating 6 pixels on, 4 off; `phase` runs on along a polyline.
  void dashed_line(double x0, double y0, double x1, double y1, double thickness, Color color, double& phase);
  void circle(double x, double y, double radius, Color color);

  // Text with its left, upper corner at (x, y); `scale` times the font's 7 pixels of letter height.
  void text(double x, double y, const std::string& text, Color color, double scale = kText);
  void vertical_text(double x, double y, const std::string& text, Color color,
                     double scale = kText);  // upwards
  static double text_width(const std::string& text, double scale = kText);
  static double text_height(double scale = kText) { return 8 * scale; }
  static constexpr double kText = 1.8;

  // The color of one pixel of the finished picture.
  Color pixel(int x, int y) const;

  // PNG; atomic; throws std::system_error naming the path.
  void save(const std::filesystem::path& path) const;

 private:
  static constexpr int kSamples = 3;
  template <class Inside>
  void fill(double x0, double y0, double x1, double y1, Color color, Inside inside);

  int width_, height_;
  std::vector<std::uint8_t> samples_;
};

}  // namespace nibble
