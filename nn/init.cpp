#include "nn/init.h"

#include <cmath>

#include "tensor/factory.h"

namespace nibble::nn {

std::int64_t fan_in(const Shape& weight) {
  NIBBLE_CHECK(weight.rank() >= 2, "fan_in: weight has shape ", weight, ", expected rank 2 or more");
  return weight.erased(0).numel();
}

Tensor kaiming_uniform(const Shape& weight, double a, Rng& rng) {
  const double bound = std::sqrt(6 / ((1 + a * a) * static_cast<double>(fan_in(weight))));
  return uniform(weight, -bound, bound, rng);
}

Tensor default_bias(const Shape& weight, Rng& rng) {
  const double bound = 1 / std::sqrt(static_cast<double>(fan_in(weight)));
  return uniform({weight[0]}, -bound, bound, rng);
}

}  // namespace nibble::nn
