#pragma once

#include "autograd/ops_pool.h"
#include "nn/module.h"

namespace nibble::nn {

class MaxPool2d : public Module {
 public:
  explicit MaxPool2d(Size2 kernel, const PoolOptions& options = {}) : kernel_(kernel), options_(options) {}
  Variable forward(const Variable& x) override { return max_pool2d(x, kernel_, options_); }
  Size2 kernel() const { return kernel_; }
  const PoolOptions& options() const { return options_; }

 private:
  Size2 kernel_;
  PoolOptions options_;
};

class AvgPool2d : public Module {
 public:
  explicit AvgPool2d(Size2 kernel, const PoolOptions& options = {}) : kernel_(kernel), options_(options) {}
  Variable forward(const Variable& x) override { return avg_pool2d(x, kernel_, options_); }
  Size2 kernel() const { return kernel_; }
  const PoolOptions& options() const { return options_; }

 private:
  Size2 kernel_;
  PoolOptions options_;
};

class AdaptiveAvgPool2d : public Module {
 public:
  explicit AdaptiveAvgPool2d(Size2 output) : output_(output) {}
  Variable forward(const Variable& x) override { return adaptive_avg_pool2d(x, output_); }
  Size2 output() const { return output_; }

 private:
  Size2 output_;
};

}  // namespace nibble::nn
