#include "data/augment.h"

#include <cmath>
#include <numbers>

#include "tensor/check.h"

namespace nibble::data {
namespace {

// Python's round(x, 15), |x| < 2: the double nearest to the decimal that is nearest to x. In integers, as
// x * 1e15 is not exact.
double round_to_15_decimals(double x) {
  constexpr std::int64_t kDecimals = 1'000'000'000'000'000;
  int exponent = 0;
  const auto mantissa = static_cast<std::int64_t>(std::ldexp(std::frexp(std::fabs(x), &exponent), 53));
  const int shift = 53 - exponent;  // |x| = mantissa / 2^shift
  if (shift > 110) return 0;
  const unsigned __int128 product = static_cast<unsigned __int128>(mantissa) * kDecimals;
  const unsigned __int128 half = static_cast<unsigned __int128>(1) << (shift - 1),
                          rest = product & (2 * half - 1);
  auto decimal = static_cast<std::int64_t>(product >> shift);
  if (rest > half || (rest == half && decimal % 2 == 1)) ++decimal;
  return std::copysign(static_cast<double>(decimal) / static_cast<double>(kDecimals), x);
}

std::int32_t to_fixed(double x) { return static_cast<std::int32_t>(std::floor(x * 65536 + 0.5)); }

}  // namespace

AffineMap rotation(int height, int width, double degrees) {
  NIBBLE_CHECK(height >= 1 && height <= 8192 && width >= 1 && width <= 8192, "rotation: image of ", height,
               "x", width, ", expected 1 to 8192 each way");
  double turn = std::fmod(degrees, 360.0);
  if (turn < 0) turn += 360;
  const double radians = -(turn * (std::numbers::pi / 180));
  const double c = round_to_15_decimals(std::cos(radians)), s = round_to_15_decimals(std::sin(radians));
  const double center_x = width / 2.0, center_y = height / 2.0;
  // The inverse map: where the pixel of the result comes from.
  const double x = c * -center_x + s * -center_y + center_x, y = -s * -center_x + c * -center_y + center_y;
  return {.x0 = to_fixed(x + (c + s) * 0.5),
          .x_x = to_fixed(c),
          .x_y = to_fixed(s),
          .y0 = to_fixed(y + (-s + c) * 0.5),
          .y_x = to_fixed(-s),
          .y_y = to_fixed(c)};
}

AffineMap after_flip(const AffineMap& map, int width) {
  AffineMap result = map;
  result.x0 = (width << 16) - 1 - map.x0;  // width - 1 - floor(x) = floor(width - 2^-16 - x)
  result.x_x = -map.x_x;
  result.x_y = -map.x_y;
  return result;
}

void resample(std::span<const std::uint8_t> in, std::span<std::uint8_t> out, int height, int width,
              const AffineMap& map) {
  std::uint8_t* to = out.data();
  for (std::int32_t y = 0; y < height; ++y) {
    std::int32_t from_x = map.x0 + map.x_y * y, from_y = map.y0 + map.y_y * y;
    for (std::int32_t x = 0; x < width; ++x, from_x += map.x_x, from_y += map.y_x) {
      const std::int32_t column = from_x >> 16, row = from_y >> 16;
      const bool inside = column >= 0 && column < width && row >= 0 && row < height;
      *to++ = inside ? in[static_cast<std::size_t>(row * width + column)] : std::uint8_t{0};
    }
  }
}

RandomRotation::RandomRotation(double low, double high) : low(low), high(high) {
  NIBBLE_CHECK(std::isfinite(low) && std::isfinite(high) && low <= high, "RandomRotation: range [", low, ", ",
               high, "], expected finite degrees, the lower first");
}

AffineMap Augmentation::draw(int height, int width, Rng& rng) const {
  const bool mirrored = flip && rng.uniform() < flip->p;
  AffineMap map;
  if (rotation)
    map = data::rotation(height, width, rotation->low + (rotation->high - rotation->low) * rng.uniform());
  return mirrored ? after_flip(map, width) : map;
}

}  // namespace nibble::data
