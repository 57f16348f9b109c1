#include "nn/conv2d.h"

#include <cmath>

#include "nn/init.h"

namespace nibble::nn {

Conv2d::Conv2d(std::int64_t in_channels, std::int64_t out_channels, Size2 kernel,
               const Conv2dOptions& options, Rng& rng)
    : options_{options.stride, options.padding, options.dilation, options.groups} {
  NIBBLE_CHECK(in_channels >= 1 && out_channels >= 1, "Conv2d: ", in_channels, " -> ", out_channels,
               " channels, expected at least 1");
  NIBBLE_CHECK(options.groups >= 1 && in_channels % options.groups == 0 && out_channels % options.groups == 0,
               "Conv2d: ", options.groups, " groups do not divide ", in_channels, " and ", out_channels,
               " channels");
  const Shape shape{out_channels, in_channels / options.groups, kernel.h, kernel.w};
  weight_ = register_parameter("weight", kaiming_uniform(shape, std::sqrt(5.0), rng));
  if (options.bias) bias_ = register_parameter("bias", default_bias(shape, rng));
}

}  // namespace nibble::nn
