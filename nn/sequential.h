#pragma once

#include <initializer_list>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "nn/module.h"

namespace nibble::nn {

// Calls its children in order. An activation in front of a MaxPool2d runs as part of it where it can
// (PoolableActivation), and a Conv2d with a ReLU or nothing between it and a MaxPool2d takes both with it:
// the same values and gradients in one pass over memory. Children are named by their position ("0", "1", ...)
// or explicitly:
//   Sequential model{Conv2d(1, 8, 3, {.padding = 1}, rng), ReLU{}, MaxPool2d(2)};
//   Sequential model;
//   model.add("conv1", Conv2d(1, 8, 3, {.padding = 1}, rng)).add("relu1", ReLU{});
class Sequential : public Module {
 public:
  Sequential() = default;
  template <class First, class... Rest>
  requires(std::is_base_of_v<Module, First> &&
           !std::is_same_v<First, Sequential>) explicit Sequential(First first, Rest... rest) {
    int position = 0;
    add(std::to_string(position++), std::move(first));
    (add(std::to_string(position++), std::move(rest)), ...);
  }

  template <class M>
  requires std::is_base_of_v<Module, M> Sequential& add(std::string name, M module) {
    register_module(std::move(name), std::make_shared<M>(std::move(module)));
    return *this;
  }
  Sequential& add(std::string name, std::shared_ptr<Module> module) {
    register_module(std::move(name), std::move(module));
    return *this;
  }

  Variable forward(const Variable& x) override;
};

}  // namespace nibble::nn
