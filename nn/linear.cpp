#include "nn/linear.h"

#include <cmath>

#include "nn/init.h"

namespace nibble::nn {

Linear::Linear(std::int64_t in_features, std::int64_t out_features, const LinearOptions& options, Rng& rng) {
  NIBBLE_CHECK(in_features >= 1 && out_features >= 1, "Linear: ", in_features, " -> ", out_features,
               " features, expected at least 1");
  const Shape shape{out_features, in_features};
  weight_ = register_parameter("weight", kaiming_uniform(shape, std::sqrt(5.0), rng));
  if (options.bias) bias_ = register_parameter("bias", default_bias(shape, rng));
}

}  // namespace nibble::nn
