#include "data/augment.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
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
  for (int y = 0; y < height; ++y) {
    const std::uint8_t* from = in.data() + (y + 1) * width;
    std::uint8_t* to = out.data() + y * width;
    int left = width;
    for (; left >= 8; left -= 8, to += 8) {  // eight pixels at once: one by one costs as much as rotating
      std::uint64_t pixels;
      std::memcpy(&pixels, from -= 8, 8);
      pixels = __builtin_bswap64(pixels);
      std::memcpy(to, &pixels, 8);
    }
    while (left-- > 0) *to++ = *--from;
  }
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
  std::uint8_t* to = out.data();
  for (int y = 0; y < height; ++y) {
    std::int64_t from_x = x0 + dx_y * y, from_y = y0 + dy_y * y;
    for (int x = 0; x < width; ++x, from_x += dx_x, from_y += dy_x) {
      const std::int64_t column = from_x >> 16, row = from_y >> 16;
      // As unsigned numbers, negative ones are too large as well. No branch: the edge is hard to predict.
      const bool inside = (static_cast<std::uint64_t>(column) < static_cast<std::uint64_t>(width)) &
                          (static_cast<std::uint64_t>(row) < static_cast<std::uint64_t>(height));
      const std::uint8_t pixel = in[static_cast<std::size_t>(inside ? row * width + column : 0)];
      *to++ = inside ? pixel : 0;
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
