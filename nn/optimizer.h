#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "autograd/variable.h"

namespace nibble::nn {

using NamedParameters = std::vector<std::pair<std::string, Variable>>;

// Updates parameters from their gradients. A parameter without a gradient is left alone, as in PyTorch.
class Optimizer {
 public:
  explicit Optimizer(NamedParameters parameters, double lr);
  virtual ~Optimizer() = default;

  void step();
  void zero_grad();  // grad() of every parameter becomes undefined

  double lr() const { return lr_; }
  void set_lr(double lr);  // throws unless finite and >= 0

  // Everything step() depends on but the parameters and the options: tensors named "<state>.<parameter>",
  // such as "momentum_buffer.conv1.weight". Loading replaces the whole state; names that no parameter has are
  // an error.
  std::map<std::string, Tensor> state_dict() const;
  void load_state_dict(const std::map<std::string, Tensor>& state);

 protected:
  using State = std::map<std::string, Tensor>;  // of one parameter, by name
  virtual void update(Tensor& parameter, const Tensor& grad, State& state) = 0;
  virtual std::vector<std::string> state_names() const = 0;

 private:
  NamedParameters parameters_;
  std::vector<State> states_;
  double lr_;
};

}  // namespace nibble::nn
