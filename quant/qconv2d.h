#pragma once

#include <vector>

#include "quant/qgemm.h"
#include "tensor/conv.h"

namespace nibble::quant {

// The weights of an integer convolution: per group of channels a PackedMatrix of [K / groups, R * S * C /
// groups], the order of a window of NHWC images.
class PackedConv2d {
 public:
  // codes: [K, C / groups, R, S]; scale: [] or [K]. Throws as PackedMatrix does, and where groups does not
  // divide K.
  PackedConv2d(const Tensor& codes, const ConvOptions& options, const PackOptions& pack,
               const Tensor& scale = {});
  PackedConv2d(Isa isa, const Tensor& codes, const ConvOptions& options, const PackOptions& pack,
               const Tensor& scale = {});

  const Shape& weight_shape() const { return shape_; }  // [K, C / groups, R, S]
  const ConvOptions& options() const { return options_; }
  const std::vector<PackedMatrix>& groups() const { return groups_; }
  std::int64_t bytes() const;

 private:
  Shape shape_;
  ConvOptions options_;
  std::vector<PackedMatrix> groups_;
};

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
