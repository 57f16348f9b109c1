#include "nn/optimizer.h"

#include <algorithm>
#include <cmath>

#include "autograd/no_grad.h"

namespace nibble::nn {

Optimizer::Optimizer(NamedParameters parameters, double lr)
    : parameters_(std::move(parameters)), states_(parameters_.size()), lr_(0) {
  set_lr(lr);
}

void Optimizer::set_lr(double lr) {
  NIBBLE_CHECK(std::isfinite(lr) && lr >= 0, "optimizer: lr is ", lr, ", expected a number >= 0");
  lr_ = lr;
}

void Optimizer::step() {
  const NoGrad no_grad;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    Variable& parameter = parameters_[i].second;
    if (const Tensor grad = parameter.grad(); grad.defined()) {
      Tensor value = parameter.mutable_value();
      update(value, grad.contiguous(), states_[i]);
    }
  }
}

void Optimizer::zero_grad() {
  for (auto& [name, parameter] : parameters_) parameter.zero_grad();
}

std::map<std::string, Tensor> Optimizer::state_dict() const {
  std::map<std::string, Tensor> result;
  for (std::size_t i = 0; i < parameters_.size(); ++i)
    for (const auto& [name, tensor] : states_[i]) result[name + "." + parameters_[i].first] = tensor.clone();
  return result;
}

void Optimizer::load_state_dict(const std::map<std::string, Tensor>& state) {
  std::vector<State> loaded(parameters_.size());
  for (const auto& [key, tensor] : state) {
    const std::size_t dot = key.find('.');
    const std::string name = key.substr(0, dot),
                      parameter = dot == std::string::npos ? "" : key.substr(dot + 1);
    const auto found = std::find_if(parameters_.begin(), parameters_.end(),
                                    [&](const auto& entry) { return entry.first == parameter; });
    const auto names = state_names();
    NIBBLE_CHECK(found != parameters_.end() && std::find(names.begin(), names.end(), name) != names.end(),
                 "optimizer: state \"", key, "\" belongs to no parameter");
    // Step counters are scalars, everything else has the parameter's shape.
    if (name == "step")
      NIBBLE_CHECK(tensor.numel() == 1 && tensor.dtype() == DType::int64, "optimizer: state \"", key,
                   "\" has shape ", tensor.shape(), " of ", tensor.dtype(),
                   ", expected one element of int64");
    else
      NIBBLE_CHECK(tensor.shape() == found->second.shape() && tensor.dtype() == found->second.dtype(),
                   "optimizer: state \"", key, "\" has shape ", tensor.shape(), " of ", tensor.dtype(),
                   ", expected ", found->second.shape(), " of ", found->second.dtype());
    loaded[static_cast<std::size_t>(found - parameters_.begin())][name] = tensor.clone();
  }
  for (std::size_t i = 0; i < loaded.size(); ++i)
    NIBBLE_CHECK(loaded[i].empty() || loaded[i].size() == state_names().size(), "optimizer: the state of ",
                 parameters_[i].first, " is incomplete");
  states_ = std::move(loaded);
}

}  // namespace nibble::nn
