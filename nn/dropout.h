#pragma once

#include "nn/module.h"
#include "tensor/random.h"

namespace nibble::nn {

// In training each element becomes 0 with probability p and is scaled by 1/(1-p) otherwise; in evaluation
// nothing happens. Draws from a stream of its own, so that the masks depend on the seed and the number of
// calls alone.
class Dropout : public Module {
 public:
  Dropout(double p, std::uint64_t seed, std::uint64_t stream = 0);
  Variable forward(const Variable& x) override;

 private:
  double p_;
  Rng rng_;
};

}  // namespace nibble::nn
