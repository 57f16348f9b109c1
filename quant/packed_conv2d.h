#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "quant/direct_conv.h"
#include "quant/packed_matrix.h"
#include "tensor/conv.h"

namespace nibble::quant {

// The weights of an integer convolution in the form that is faster for its sizes (packed_conv2d.cpp): a byte
// a weight in words for direct kernels, or per group of channels a PackedMatrix of [K / groups, R * S * C /
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
  const PackOptions& pack_options() const { return pack_; }
  Isa isa() const { return isa_; }
  std::int64_t bytes() const;

  // For the engine: one of the two.
  struct Direct {
    DirectConvWeights weights;
    std::vector<std::int32_t> column_sums;
    std::vector<float> scale;
  };
  const std::optional<Direct>& direct() const { return direct_; }
  const std::vector<PackedMatrix>& groups() const { return groups_; }

 private:
  Isa isa_;
  Shape shape_;
  ConvOptions options_;
  PackOptions pack_;
  std::optional<Direct> direct_;
  std::vector<PackedMatrix> groups_;
};

}  // namespace nibble::quant
