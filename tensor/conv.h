#pragma once

#include "tensor/tensor.h"

namespace nibble {

struct Size2 {
  std::int64_t h = 0, w = 0;
  Size2() = default;
  Size2(std::int64_t both) : h(both), w(both) {}  // implicit: {.padding = 1}
  Size2(std::int64_t h, std::int64_t w) : h(h), w(w) {}
  friend bool operator==(const Size2&, const Size2&) = default;
  friend std::ostream& operator<<(std::ostream& out, Size2 size);  // 3x3
};

struct ConvOptions {
  Size2 stride = 1;
  Size2 padding = 0;
  Size2 dilation = 1;
  std::int64_t groups = 1;
};

// Two-dimensional cross-correlation with zero padding.
//   x [N, C, H, W], weight [K, C/groups, R, S], bias [K] or undefined -> [N, K, OH, OW]
//   OH = (H + 2*padding.h - dilation.h*(R - 1) - 1) / stride.h + 1
// float32 or float64. Throws, naming the sizes, when channels, groups, dtypes or the window do not fit.
Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias = {},
              const ConvOptions& options = {});

// Gradients of conv2d with respect to x (of shape x_shape), weight (of shape weight_shape) and bias.
Tensor conv2d_backward_input(const Tensor& grad_out, const Tensor& weight, const Shape& x_shape,
                             const ConvOptions& options = {});
Tensor conv2d_backward_weight(const Tensor& grad_out, const Tensor& x, const Shape& weight_shape,
                              const ConvOptions& options = {});
Tensor conv2d_backward_bias(const Tensor& grad_out);  // sum over N, H, W

// Shape of the result; makes every check of conv2d on the shapes.
Shape conv2d_shape(const Shape& x, const Shape& weight, const ConvOptions& options = {});

}  // namespace nibble
