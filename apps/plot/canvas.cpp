#include "apps/plot/canvas.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "tensor/atomic_file.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#define STB_IMAGE_WRITE_STATIC
#define STB_IMAGE_WRITE_IMPLEMENTATION
#include <stb/stb_easy_font.h>
#include <stb/stb_image_write.h>
#pragma GCC diagnostic pop

namespace nibble {
namespace {

struct Quad {
  float x0, y0, x1, y1;
};

// The strokes of a text as rectangles, in units of the font's pixels.
std::vector<Quad> quads_of(const std::string& text) {
  struct Vertex {
    float x, y, z;
    unsigned char color[4];
  };
  std::vector<Vertex> vertices(text.size() * 64 + 64);
  std::string copy = text;
  const int count = stb_easy_font_print(0, 0, copy.data(), nullptr, vertices.data(),
                                        static_cast<int>(vertices.size() * sizeof(Vertex)));
  std::vector<Quad> quads;
  for (int i = 0; i < count; ++i) {
    const Vertex* v = vertices.data() + 4 * i;
    quads.push_back({v[0].x, v[0].y, v[2].x, v[2].y});
  }
  return quads;
}

}  // namespace

Canvas::Canvas(int width, int height)
    : width_(width),
      height_(height),
      samples_(static_cast<std::size_t>(width) * static_cast<std::size_t>(height) * kSamples * kSamples * 3,
               255) {}

// Colors the samples of a bounding box for which inside(x, y) holds, in pixels.
template <class Inside>
void Canvas::fill(double x0, double y0, double x1, double y1, Color color, Inside inside) {
  const auto clamp = [](double v, int size) {
    return static_cast<int>(std::clamp(v * kSamples, 0.0, static_cast<double>(size) * kSamples));
  };
  const int left = clamp(std::min(x0, x1), width_), right = clamp(std::ceil(std::max(x0, x1)), width_);
  const int top = clamp(std::min(y0, y1), height_), bottom = clamp(std::ceil(std::max(y0, y1)), height_);
  for (int sy = top; sy < bottom; ++sy) {
    for (int sx = left; sx < right; ++sx) {
      if (!inside((sx + 0.5) / kSamples, (sy + 0.5) / kSamples)) continue;
      std::uint8_t* p =
          samples_.data() + (static_cast<std::size_t>(sy) * static_cast<std::size_t>(width_ * kSamples) +
                             static_cast<std::size_t>(sx)) *
                                3;
      p[0] = color.r;
      p[1] = color.g;
      p[2] = color.b;
    }
  }
}

void Canvas::rectangle(double x0, double y0, double x1, double y1, Color color) {
  if (x0 > x1) std::swap(x0, x1);
  if (y0 > y1) std::swap(y0, y1);
  fill(x0, y0, x1, y1, color, [=](double x, double y) { return x >= x0 && x < x1 && y >= y0 && y < y1; });
}

void Canvas::line(double x0, double y0, double x1, double y1, double thickness, Color color) {
  const double dx = x1 - x0, dy = y1 - y0, length2 = dx * dx + dy * dy, half = thickness / 2;
  fill(std::min(x0, x1) - half, std::min(y0, y1) - half, std::max(x0, x1) + half, std::max(y0, y1) + half,
       color, [=](double x, double y) {
         const double t = length2 > 0 ? std::clamp(((x - x0) * dx + (y - y0) * dy) / length2, 0.0, 1.0) : 0;
         return std::hypot(x - x0 - t * dx, y - y0 - t * dy) <= half;
       });
}

void Canvas::dashed_line(double x0, double y0, double x1, double y1, double thickness, Color color,
                         double& phase) {
  constexpr double kOn = 6, kPeriod = 10;
  const double length = std::hypot(x1 - x0, y1 - y0);
  for (double at = 0; at < length;) {
    const double within = std::fmod(phase, kPeriod);
    const double step = std::min(length - at, (within < kOn ? kOn : kPeriod) - within + 1e-9);
    const auto point = [&](double d) {
      return std::array{x0 + (x1 - x0) * d / length, y0 + (y1 - y0) * d / length};
    };
    if (within < kOn)
      line(point(at)[0], point(at)[1], point(at + step)[0], point(at + step)[1], thickness, color);
    at += step;
    phase += step;
  }
}

void Canvas::circle(double x, double y, double radius, Color color) {
  fill(x - radius, y - radius, x + radius, y + radius, color,
       [=](double px, double py) { return std::hypot(px - x, py - y) <= radius; });
}

void Canvas::text(double x, double y, const std::string& text, Color color, double scale) {
  for (const Quad& q : quads_of(text))
    rectangle(x + q.x0 * scale, y + q.y0 * scale, x + q.x1 * scale, y + q.y1 * scale, color);
}

void Canvas::vertical_text(double x, double y, const std::string& text, Color color, double scale) {
  for (const Quad& q : quads_of(text))
    rectangle(x + q.y0 * scale, y - q.x0 * scale, x + q.y1 * scale, y - q.x1 * scale, color);
}

double Canvas::text_width(const std::string& text, double scale) {
  std::string copy = text;
  return stb_easy_font_width(copy.data()) * scale;
}

Color Canvas::pixel(int x, int y) const {
  std::array<int, 3> sum{};
  for (int sy = 0; sy < kSamples; ++sy)
    for (int sx = 0; sx < kSamples; ++sx)
      for (std::size_t c = 0; c < 3; ++c)
        sum[c] += samples_[(static_cast<std::size_t>(y * kSamples + sy) *
                                static_cast<std::size_t>(width_ * kSamples) +
                            static_cast<std::size_t>(x * kSamples + sx)) *
                               3 +
                           c];
  const auto mean = [](int total) {
    return static_cast<std::uint8_t>((total + kSamples * kSamples / 2) / (kSamples * kSamples));
  };
  return {mean(sum[0]), mean(sum[1]), mean(sum[2])};
}

void Canvas::save(const std::filesystem::path& path) const {
  std::vector<std::uint8_t> pixels;
  for (int y = 0; y < height_; ++y) {
    for (int x = 0; x < width_; ++x) {
      const Color c = pixel(x, y);
      pixels.insert(pixels.end(), {c.r, c.g, c.b});
    }
  }
  std::vector<std::byte> png;
  const auto append = [](void* context, void* data, int size) {
    const auto* bytes = static_cast<const std::byte*>(data);
    auto& out = *static_cast<std::vector<std::byte>*>(context);
    out.insert(out.end(), bytes, bytes + size);
  };
  if (stbi_write_png_to_func(append, &png, width_, height_, 3, pixels.data(), 3 * width_) == 0)
    throw std::runtime_error("cannot encode " + path.string());
  write_file_atomically(path, png);
}

}  // namespace nibble
