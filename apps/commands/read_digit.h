#pragma once

#include <string>

#include "tensor/tensor.h"

namespace nibble {

// One image as the networks take them: uint8 [1, 1, 28, 28], white on black. `where` is a picture file (PNG,
// JPEG, BMP
// ...: colours become grey, other sizes are resized), or FILE#n, image n of an IDX file, gzip or not.
// `invert`: the picture is dark on light. Throws std::runtime_error or FormatError naming the file.
Tensor read_digit(const std::string& where, bool invert);

// The image in characters, two a pixel, dark to bright; 28 lines.
std::string ascii_picture(const Tensor& image);

}  // namespace nibble
