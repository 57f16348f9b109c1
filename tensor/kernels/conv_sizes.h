#pragma once

#include <cstddef>

namespace nibble {

// A two-dimensional convolution of one group, without its layout in memory.
struct ConvSizes {
  std::ptrdiff_t c, h, w;    // input channels and size
  std::ptrdiff_t k, oh, ow;  // output channels and size
  std::ptrdiff_t r, s;       // kernel size
  std::ptrdiff_t stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
};

}  // namespace nibble
