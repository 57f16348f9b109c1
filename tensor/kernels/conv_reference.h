#pragma once

#include <cstdint>

#include "tensor/kernels/conv_sizes.h"

namespace nibble::reference {

// A convolution of tensors in any layout: strides in elements.
struct ConvGeometry : ConvSizes {
  std::int64_t x_stride[4], y_stride[4], weight_stride[4];  // NCHW, NCHW, KCRS
};

// Calls f(x_offset, y_offset, weight_offset) for every product of the convolution, grouped by output element
// of image `image` and output channel `channel` (of all groups).
template <class F>
void for_each_product(const ConvGeometry& g, std::int64_t image, std::int64_t channel, F&& f) {
  const std::int64_t group = channel / g.k;
  for (std::int64_t y = 0; y < g.oh; ++y) {
    for (std::int64_t x = 0; x < g.ow; ++x) {
      const std::int64_t out =
          image * g.y_stride[0] + channel * g.y_stride[1] + y * g.y_stride[2] + x * g.y_stride[3];
      for (std::int64_t c = 0; c < g.c; ++c) {
        for (std::int64_t r = 0; r < g.r; ++r) {
          const std::int64_t in_y = y * g.stride_h + r * g.dilation_h - g.padding_h;
          if (in_y < 0 || in_y >= g.h) continue;
          for (std::int64_t s = 0; s < g.s; ++s) {
            const std::int64_t in_x = x * g.stride_w + s * g.dilation_w - g.padding_w;
            if (in_x < 0 || in_x >= g.w) continue;
            f(image * g.x_stride[0] + (group * g.c + c) * g.x_stride[1] + in_y * g.x_stride[2] +
                  in_x * g.x_stride[3],
              out,
              channel * g.weight_stride[0] + c * g.weight_stride[1] + r * g.weight_stride[2] +
                  s * g.weight_stride[3]);
          }
        }
      }
    }
  }
}

}  // namespace nibble::reference
