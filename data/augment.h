#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "data/affine_map.h"
#include "tensor/random.h"

namespace nibble::data {

// The map that turns an image of that size (1 to 8192 each way) counter-clockwise by `degrees` about (width /
// 2, height / 2): with nearest neighbours and 0 outside, bit for bit what torchvision does to a PIL image.
AffineMap rotation(int height, int width, double degrees);
// The map that mirrors the source left to right and then applies `map`.
AffineMap after_flip(const AffineMap& map, int width);

// A grey image of height x width bytes, row-major, through a map. `out` and `in` must not overlap.
void resample(std::span<const std::uint8_t> in, std::span<std::uint8_t> out, int height, int width,
              const AffineMap& map);

// torchvision's transforms. Each draws one number, whether or not it uses it.
struct RandomHorizontalFlip {
  double p = 0.5;
};
struct RandomRotation {
  double low, high;                                                               // degrees, uniform
  explicit RandomRotation(double degrees) : RandomRotation(-degrees, degrees) {}  // throws when negative
  RandomRotation(double low, double high);  // throws unless finite and low <= high
};

struct Augmentation {
  std::optional<RandomHorizontalFlip> flip;
  std::optional<RandomRotation> rotation;

  bool changes_nothing() const { return !flip && !rotation; }
  AffineMap draw(int height, int width, Rng& rng) const;
};

}  // namespace nibble::data
