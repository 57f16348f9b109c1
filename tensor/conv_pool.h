#pragma once

#include "tensor/conv.h"
#include "tensor/pool.h"

namespace nibble {

// max_pool2d(conv2d(x, weight, bias, conv), kernel, pool): the same bits and errors, but of a batch whose
// windows neither overlap nor are padded, the result of the convolution is pooled row by row while the cache
// holds it, and never goes to memory.
MaxPoolResult conv2d_max_pool2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                                const ConvOptions& conv, Size2 kernel, const PoolOptions& pool);

struct ConvParameterGrads {
  Tensor weight, bias;
};

// Gradients of conv2d_max_pool2d with respect to weight (of shape weight_shape) and bias, where that of the
// input is not asked for: the gradient of the convolution's result does not go to memory either. grad_out
// and indices have the shape of the pooled result.
ConvParameterGrads conv2d_max_pool2d_backward_parameters(const Tensor& grad_out, const Tensor& indices,
                                                         const Tensor& x, const Shape& weight_shape,
                                                         const ConvOptions& conv, Size2 kernel,
                                                         const PoolOptions& pool);

}  // namespace nibble
