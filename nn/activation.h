#pragma once

#include "autograd/ops_elementwise.h"
#include "autograd/ops_loss.h"
#include "nn/module.h"
#include "nn/pool.h"

namespace nibble::nn {

// An activation that can run in the pass of the max pooling behind it.
class PoolableActivation : public Module {
 public:
  // Same as pool.forward(forward(x)).
  virtual Variable forward_pooled(const Variable& x, const MaxPool2d& pool) = 0;
};

class ReLU : public PoolableActivation {
 public:
  Variable forward(const Variable& x) override { return relu(x); }
  Variable forward_pooled(const Variable& x, const MaxPool2d& pool) override {
    PoolOptions options = pool.options();
    options.relu = true;
    return max_pool2d(x, pool.kernel(), options);
  }
};

class Sigmoid : public Module {
 public:
  Variable forward(const Variable& x) override { return sigmoid(x); }
};

class Tanh : public Module {
 public:
  Variable forward(const Variable& x) override { return tanh(x); }
};

class Softmax : public Module {
 public:
  explicit Softmax(int dim) : dim_(dim) {}
  Variable forward(const Variable& x) override { return softmax(x, dim_); }
  int dim() const { return dim_; }

 private:
  int dim_;
};

class LogSoftmax : public Module {
 public:
  explicit LogSoftmax(int dim) : dim_(dim) {}
  Variable forward(const Variable& x) override { return log_softmax(x, dim_); }
  int dim() const { return dim_; }

 private:
  int dim_;
};

}  // namespace nibble::nn
