#pragma once

#include <cstdint>

#include "quant/packed_conv2d.h"
#include "quant/qgemm.h"

namespace nibble::quant {

// Codes [n, height, width, channels], without gaps. Fewer than 8 bits: packed as one run of codes.
struct ActImages {
  const std::uint8_t* data;
  std::int64_t n, height, width, channels;
  ActFormat format;
};

// The integer convolution -> [n, out_height, out_width, out_channels] with the epilogues of qgemm, whose rows
// are the output pixels. Where a window reaches over an edge it meets the zero point, so that padding is a
// true zero; binary activations have none and cannot be padded. Throws std::invalid_argument as qgemm does.
void qconv2d(const ActImages& images, const PackedConv2d& weights, const QGemmOutput& out);

}  // namespace nibble::quant
