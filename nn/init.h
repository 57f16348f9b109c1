#pragma once

#include "tensor/random.h"
#include "tensor/tensor.h"

namespace nibble::nn {

// Number of inputs that reach one output: product of all sizes of a weight [out, in, ...] but the first.
std::int64_t fan_in(const Shape& weight);

// U(-bound, bound) with bound = gain * sqrt(3 / fan_in) and the gain sqrt(2 / (1 + a^2)) of leaky ReLU
// (He et al., "Delving deep into rectifiers", 2015). With a = sqrt(5), PyTorch's default for convolutions and
// linear layers, the bound is 1 / sqrt(fan_in).
Tensor kaiming_uniform(const Shape& weight, double a, Rng& rng);

// PyTorch's default for the bias of a layer with such a weight: U(-1/sqrt(fan_in), 1/sqrt(fan_in)).
Tensor default_bias(const Shape& weight, Rng& rng);

}  // namespace nibble::nn
