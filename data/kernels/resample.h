#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/simd/dispatch.h"

namespace nibble::data {

// Images out of a set of equally large grey ones, each seen through an affine map of its own (affine_map.h).
struct Resampling {
  // Arrays of one entry per image, readable up to a multiple of kPadding entries.
  static constexpr std::ptrdiff_t kPadding = 16;
  const std::int32_t* offset;  // of the image in `pixels`
  const std::int32_t *x0, *x_x, *x_y, *y0, *y_x, *y_y;

  const std::uint8_t* pixels;
  std::int32_t pixel_count;  // of the whole set
  std::int32_t height, width;
  std::ptrdiff_t n;  // images
};

struct ResampleKernels {
  // out[(y * width + x) * n + i] = value / 255 of pixel (x, y) of image i, for the rows y in [begin, end).
  void (*rows)(const Resampling& images, std::int32_t begin, std::int32_t end, float* out) noexcept;
};

NIBBLE_DECLARE_KERNELS(ResampleKernels, resample_kernels)

}  // namespace nibble::data
