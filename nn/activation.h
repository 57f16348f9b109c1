#pragma once

#include "autograd/ops_elementwise.h"
#include "autograd/ops_loss.h"
#include "nn/module.h"

namespace nibble::nn {

class ReLU : public Module {
 public:
  Variable forward(const Variable& x) override { return relu(x); }
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

 private:
  int dim_;
};

class LogSoftmax : public Module {
 public:
  explicit LogSoftmax(int dim) : dim_(dim) {}
  Variable forward(const Variable& x) override { return log_softmax(x, dim_); }

 private:
  int dim_;
};

}  // namespace nibble::nn
