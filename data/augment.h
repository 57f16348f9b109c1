#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "tensor/random.h"

namespace nibble::data {

// Grey images of height x width bytes, row-major. `out` and `in` must not overlap.

void flip_horizontal(std::span<const std::uint8_t> in, std::span<std::uint8_t> out, int height, int width);

// Counter-clockwise by `degrees` about (width / 2, height / 2), nearest neighbour, size kept, 0 outside: bit
// for bit what torchvision does to a PIL image (affine map in 16.16 fixed point).
void rotate(std::span<const std::uint8_t> in, std::span<std::uint8_t> out, int height, int width,
            double degrees);

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

  void apply(std::span<const std::uint8_t> in, std::span<std::uint8_t> out, int height, int width,
             Rng& rng) const;
};

}  // namespace nibble::data
