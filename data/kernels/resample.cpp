#include "data/kernels/resample.h"

#include "tensor/simd/vec.h"

namespace nibble::data::NIBBLE_TIER {
namespace {

using namespace nibble::NIBBLE_TIER;

// The lanes hold images: each has its own map, and the result its own column.
void rows(const Resampling& p, std::int32_t begin, std::int32_t end, float* out) noexcept {
  const VecI width(p.width), height(p.height), none(0);
  for (std::ptrdiff_t i = 0; i < p.n; i += static_cast<std::ptrdiff_t>(kLanes)) {
    const auto parameter = [i](const std::int32_t* values) { return VecI::load_unaligned(values + i); };
    const VecI offset = parameter(p.offset), x_x = parameter(p.x_x), y_x = parameter(p.y_x);
    const auto left = static_cast<std::size_t>(p.n - i);
    for (std::int32_t y = begin; y < end; ++y) {
      VecI from_x = parameter(p.x0) + parameter(p.x_y) * VecI(y);
      VecI from_y = parameter(p.y0) + parameter(p.y_y) * VecI(y);
      float* to = out + static_cast<std::ptrdiff_t>(y) * p.width * p.n + i;
      for (std::int32_t x = 0; x < p.width; ++x, to += p.n, from_x += x_x, from_y += y_x) {
        const VecI column = from_x >> 16, row = from_y >> 16;
        const auto inside = (column >= none) & (column < width) & (row >= none) & (row < height);
        const VecI at = offset + select(inside, row * width + column, none);
        const VecI pixel = select(inside, gather_bytes(p.pixels, p.pixel_count, at), none);
        const VecF value = quotient(to_float(pixel), VecF(255.0f));  // ToTensor of torchvision
        left >= kLanes ? store(to, value) : store_partial(to, value, left);
      }
    }
  }
}

}  // namespace

extern const ResampleKernels resample_kernels = {rows};

}  // namespace nibble::data::NIBBLE_TIER
