#pragma once

#include "tensor/conv.h"
#include "tensor/tensor.h"

namespace nibble {

struct PoolOptions {
  Size2 stride = 0;  // 0: the kernel size
  Size2 padding = 0;
  Size2 dilation = 1;             // max pooling only
  bool ceil_mode = false;         // the last window may start inside and end outside the padded input
  bool count_include_pad = true;  // average pooling only
  bool relu = false;              // max pooling only, of max(x, 0): one pass instead of two
};

// Shape of the result of max_pool2d, after all its checks; `op` opens their messages.
Shape pool2d_shape(const char* op, const Shape& x, Size2 kernel, const PoolOptions& options = {});

struct MaxPoolResult {
  Tensor values;  // [N, C, OH, OW]
  // int32: position h*W + w of the chosen element in its plane; -1 where a dilated window holds no element
  // (its value is minus infinity, with relu 0) and with relu where none is positive.
  Tensor indices;
};

// Padding counts as minus infinity; of equal elements the first in row-major order of the window wins; NaN
// wins. Semantics, sizes and checks as PyTorch's max_pool2d. With relu, values and gradients are those of
// pooling the rectified input.
MaxPoolResult max_pool2d(const Tensor& x, Size2 kernel, const PoolOptions& options = {});
// Adds grad_out to the chosen positions of a zero tensor of shape x_shape, nothing where the index is -1;
// overlapping windows add up. Throws when grad_out or indices do not have the shape of the result.
Tensor max_pool2d_backward(const Tensor& grad_out, const Tensor& indices, const Shape& x_shape, Size2 kernel,
                           const PoolOptions& options = {});

// Means of windows -> [N, C, OH, OW]. Padding counts as 0, and as elements with count_include_pad. Throws for
// dilation, and as max_pool2d.
Tensor avg_pool2d(const Tensor& x, Size2 kernel, const PoolOptions& options = {});
Tensor avg_pool2d_backward(const Tensor& grad_out, const Shape& x_shape, Size2 kernel,
                           const PoolOptions& options = {});

// [N, C, H, W] -> [N, C, output.h, output.w]: output cell i averages input [floor(i*H/OH), ceil((i+1)*H/OH)).
// Throws for other ranks, empty planes and an empty output.
Tensor adaptive_avg_pool2d(const Tensor& x, Size2 output);
Tensor adaptive_avg_pool2d_backward(const Tensor& grad_out, const Shape& x_shape);

}  // namespace nibble
