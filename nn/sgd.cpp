#include "nn/sgd.h"

#include "tensor/factory.h"
#include "tensor/kernels/optimizer.h"

#define NIBBLE_TIER reference
#include "tensor/kernels/optimizer_formulas.h"

namespace nibble::nn {

SGD::SGD(NamedParameters parameters, const SGDOptions& options)
    : Optimizer(std::move(parameters), options.lr), options_(options) {
  NIBBLE_CHECK(options.momentum >= 0 && options.weight_decay >= 0, "SGD: momentum ", options.momentum,
               " and weight_decay ", options.weight_decay, ", expected at least 0");
  NIBBLE_CHECK(!options.nesterov || (options.momentum > 0 && options.dampening == 0),
               "SGD: nesterov needs a momentum and no dampening");
}

void SGD::update(Tensor& parameter, const Tensor& grad, State& state) {
  SgdStep step{lr(), options_.momentum, options_.dampening, options_.weight_decay, options_.nesterov, false};
  Tensor buffer;
  if (options_.momentum != 0) {
    step.first = state.count("momentum_buffer") == 0;
    if (step.first) state["momentum_buffer"] = zeros(parameter.shape(), parameter.dtype());
    buffer = state["momentum_buffer"];
  }
  const auto n = static_cast<std::size_t>(parameter.numel());
  if (parameter.dtype() == DType::float32) {
    float* const momentum = buffer.defined() ? buffer.mutable_data<float>() : nullptr;
    optimizer_kernels().sgd(parameter.mutable_values<float>().data(), grad.data<float>(), momentum, n, step);
    return;
  }
  double* const p = parameter.mutable_values<double>().data();
  double unused = 0;
  for (std::size_t i = 0; i < n; ++i) {
    double& momentum = buffer.defined() ? buffer.mutable_data<double>()[i] : unused;
    p[i] = reference::sgd_update<double, double>(p[i], grad.data<double>()[i], momentum, step);
  }
}

}  // namespace nibble::nn
