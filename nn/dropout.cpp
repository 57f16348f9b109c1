#include "nn/dropout.h"

#include "autograd/ops_elementwise.h"
#include "tensor/factory.h"

namespace nibble::nn {

Dropout::Dropout(double p, std::uint64_t seed, std::uint64_t stream) : p_(p), rng_(seed, stream) {
  NIBBLE_CHECK(p >= 0 && p < 1, "Dropout: p is ", p, ", expected 0 <= p < 1");
}

Variable Dropout::forward(const Variable& x) {
  if (!is_training() || p_ == 0) return x;
  Tensor mask = empty(x.shape(), x.dtype());
  visit(x.dtype(), [&](auto type) {
    using T = decltype(type);
    const T kept = static_cast<T>(1 / (1 - p_));
    for (T& value : mask.mutable_values<T>()) value = rng_.uniform() < p_ ? T(0) : kept;
  });
  return mul(x, mask);
}

}  // namespace nibble::nn
