#pragma once

#include "autograd/ops_shape.h"
#include "nn/module.h"

namespace nibble::nn {

// [N, C, H, W] -> [N, C*H*W] by default.
class Flatten : public Module {
 public:
  explicit Flatten(int start_dim = 1) : start_dim_(start_dim) {}
  Variable forward(const Variable& x) override { return flatten(x, start_dim_); }
  int start_dim() const { return start_dim_; }

 private:
  int start_dim_;
};

}  // namespace nibble::nn
