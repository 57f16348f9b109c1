#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "autograd/variable.h"

namespace nibble::nn {

// A layer or a network: a function of one Variable with named parameters, buffers and children. Names are
// joined by dots as in PyTorch's state dicts ("conv1.weight"). Parameters, buffers and children are handles:
// moving a Module moves what it registered, copying is not allowed.
class Module {
 public:
  Module() = default;
  Module(Module&&) = default;
  Module& operator=(Module&&) = default;
  virtual ~Module() = default;

  virtual Variable forward(const Variable& x) = 0;
  Variable operator()(const Variable& x) { return forward(x); }

  // Affects this module and every child (Dropout, BatchNorm2d, quantizers). New modules are in training mode.
  void train(bool on = true);
  void eval() { train(false); }
  bool is_training() const { return training_; }

  // In order of registration, depth first.
  std::vector<std::pair<std::string, Variable>> named_parameters() const;
  std::vector<Variable> parameters() const;
  // Tensors that are state but not trained (running statistics). Handles: writing in place changes the
  // module.
  std::vector<std::pair<std::string, Tensor>> named_buffers() const;
  const std::vector<std::pair<std::string, std::shared_ptr<Module>>>& named_children() const {
    return children_;
  }
  // Every module below and including this one (whose name is empty).
  std::vector<std::pair<std::string, Module*>> named_modules();

 protected:
  // Names have no dots and are unique within a module, else std::invalid_argument.
  Variable register_parameter(std::string name, Tensor value);
  Tensor register_buffer(std::string name, Tensor value);
  std::shared_ptr<Module> register_module(std::string name, std::shared_ptr<Module> child);

 private:
  void check_name(const std::string& name) const;

  bool training_ = true;
  std::vector<std::pair<std::string, Variable>> parameters_;
  std::vector<std::pair<std::string, Tensor>> buffers_;
  std::vector<std::pair<std::string, std::shared_ptr<Module>>> children_;
};

}  // namespace nibble::nn
