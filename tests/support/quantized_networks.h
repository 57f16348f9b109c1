#pragma once

#include <algorithm>

#include "autograd/no_grad.h"
#include "nn/dropout.h"
#include "nn/flatten.h"
#include "nn/sequential.h"
#include "quant/calibrate.h"
#include "quant/quant_activation.h"
#include "quant/quant_conv2d.h"
#include "quant/quant_linear.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"

// Quantized networks for tests of lowering, and images for them.

namespace nibble::quant {

inline constexpr std::int64_t kImages = 12;

inline Tensor random_pixels(const Shape& image, Rng& rng) {
  Tensor pixels = empty(image.inserted(0, kImages), DType::uint8);
  for (std::uint8_t& p : pixels.mutable_values<std::uint8_t>()) p = static_cast<std::uint8_t>(rng.below(256));
  return pixels;
}

inline void calibrate(nn::Sequential& network, const Shape& image, Rng& rng) {
  network.eval();
  const NoGrad no_grad;
  const calibration_mode mode(network);
  network(Variable(div(random_pixels(image, rng).to(DType::float32), scalar(255))));
}

// Quantizers of one network.
struct Quantizers {
  ActQuantizer input, hidden;
  LayerQuantizers layer;
};

inline Quantizers fixed_point(int act_bits, int weight_bits, bool per_channel = false) {
  return {
      Int8ActPerTensorFixedPoint(std::max(act_bits, 2)),
      Uint8ActPerTensorFixedPoint(act_bits),
      {per_channel ? Int8WeightPerChannelFixedPoint(weight_bits) : Int8WeightPerTensorFixedPoint(weight_bits),
       Int16Bias()}};
}

inline Quantizers floating(int act_bits, int weight_bits, bool per_channel = false) {
  return {Int8ActPerTensorFloat(std::max(act_bits, 2)),
          Uint8ActPerTensorFloat(act_bits),
          {per_channel ? Int8WeightPerChannelFloat(weight_bits) : Int8WeightPerTensorFloat(weight_bits),
           Int16Bias()}};
}

inline const Shape kImage{2, 12, 12};

// Two convolutions with pooling, then a linear layer: [2, 12, 12] to 5 logits.
inline nn::Sequential convolutional(const Quantizers& q, Rng& rng) {
  nn::Sequential network;
  network.add("identity", QuantIdentity(q.input))
      .add("conv1", QuantConv2d(2, 6, 3, {.padding = 1}, q.layer, rng))
      .add("relu1", QuantReLU(q.hidden))
      .add("pool1", nn::MaxPool2d(2))
      .add("drop", nn::Dropout(0.5, 1))
      .add("conv2", QuantConv2d(6, 4, 3, {.stride = {1, 2}, .padding = {0, 1}, .groups = 2}, q.layer, rng))
      .add("relu2", QuantReLU(q.hidden))
      .add("flatten", nn::Flatten())
      .add("linear", QuantLinear(48, 5, {}, q.layer, rng))
      .add("softmax", nn::Softmax(1));
  return network;
}

inline void set(const Variable& parameter, const std::vector<float>& values) {
  Variable handle = parameter;
  handle.mutable_value().copy_from(from_values({std::ssize(values)}, values));
}
inline void set(const Tensor& buffer, const std::vector<float>& values) {
  Tensor handle = buffer;
  handle.copy_from(from_values({std::ssize(values)}, values));
}

}  // namespace nibble::quant
