#include "data/augment.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numbers>
#include <vector>

#include "tensor/check.h"

namespace nibble::data {
namespace {

// Python's round(x, 15): the decimal that is nearest, not a product with 1e15.
double round_to_15_decimals(double x) {
  char text[64];
  const auto end = std::to_chars(text, text + sizeof text, x, std::chars_format::fixed, 15).ptr;
  double rounded = 0;
  std::from_chars(text, end, rounded);
  return rounded;
}

std::int64_t to_fixed(double x) { return static_cast<std::int64_t>(std::floor(x * 65536 + 0.5)); }

}  // namespace

void flip_horizontal(std::span<const std::uint8_t> in, std::span<std::uint8_t> out, int height, int width) {
  for (int y = 0; y < height; ++y)
    std::reverse_copy(in.begin() + y * width, in.begin() + (y + 1) * width, out.begin() + y * width);
}

void rotate(std::span<const std::uint8_t> in, std::span<std::uint8_t> out, int height, int width,
            double degrees) {
  double turn = std::fmod(degrees, 360.0);
  if (turn < 0) turn += 360;
  const double radians = -(turn * (std::numbers::pi / 180));
  const double c = round_to_15_decimals(std::cos(radians)), s = round_to_15_decimals(std::sin(radians));
  const double center_x = width / 2.0, center_y = height / 2.0;
  // The inverse map: where the pixel of the result comes from.
  const double a[6] = {c,  s, c * -center_x + s * -center_y + center_x,
                       -s, c, -s * -center_x + c * -center_y + center_y};
  const std::int64_t dx_x = to_fixed(a[0]), dx_y = to_fixed(a[1]), x0 = to_fixed(a[2] + (a[0] + a[1]) * 0.5);
  const std::int64_t dy_x = to_fixed(a[3]), dy_y = to_fixed(a[4]), y0 = to_fixed(a[5] + (a[3] + a[4]) * 0.5);
  for (int y = 0; y < height; ++y) {
    std::int64_t from_x = x0 + dx_y * y, from_y = y0 + dy_y * y;
    for (int x = 0; x < width; ++x, from_x += dx_x, from_y += dy_x) {
      const std::int64_t column = from_x >> 16, row = from_y >> 16;
      const bool inside = column >= 0 && column < width && row >= 0 && row < height;
      out[static_cast<std::size_t>(y * width + x)] =
          inside ? in[static_cast<std::size_t>(row * width + column)] : 0;
    }
  }
}

RandomRotation::RandomRotation(double low, double high) : low(low), high(high) {
  NIBBLE_CHECK(std::isfinite(low) && std::isfinite(high) && low <= high, "RandomRotation: range [", low, ", ",
               high, "], expected finite degrees, the lower first");
}

void Augmentation::apply(std::span<const std::uint8_t> in, std::span<std::uint8_t> out, int height, int width,
                         Rng& rng) const {
  const bool mirrored = flip && rng.uniform() < flip->p;
  if (!rotation) {
    if (mirrored)
      flip_horizontal(in, out, height, width);
    else
      std::copy(in.begin(), in.end(), out.begin());
    return;
  }
  const double degrees = rotation->low + (rotation->high - rotation->low) * rng.uniform();
  if (!mirrored) return rotate(in, out, height, width, degrees);
  std::vector<std::uint8_t> flipped(in.size());
  flip_horizontal(in, flipped, height, width);
  rotate(flipped, out, height, width, degrees);
}

}  // namespace nibble::data
