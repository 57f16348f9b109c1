#include "nn/adam.h"

#include <cmath>

#include "tensor/factory.h"
#include "tensor/kernels/optimizer.h"

#define NIBBLE_TIER reference
#include "tensor/kernels/optimizer_formulas.h"

namespace nibble::nn {

Adam::Adam(NamedParameters parameters, const AdamOptions& options, bool decoupled)
    : Optimizer(std::move(parameters), options.lr), options_(options), decoupled_(decoupled) {
  NIBBLE_CHECK(options.beta1 >= 0 && options.beta1 < 1 && options.beta2 >= 0 && options.beta2 < 1,
               "Adam: betas ", options.beta1, " and ", options.beta2, ", expected 0 <= beta < 1");
  NIBBLE_CHECK(options.eps >= 0 && options.weight_decay >= 0, "Adam: eps ", options.eps, " and weight_decay ",
               options.weight_decay, ", expected at least 0");
}

void Adam::update(Tensor& parameter, const Tensor& grad, State& state) {
  if (state.empty()) {
    state["exp_avg"] = zeros(parameter.shape(), parameter.dtype());
    state["exp_avg_sq"] = zeros(parameter.shape(), parameter.dtype());
    state["step"] = zeros({}, DType::int64);
  }
  const std::int64_t t = ++*state["step"].mutable_data<std::int64_t>();
  const double time = static_cast<double>(t);
  const AdamStep step{lr(),
                      options_.beta1,
                      options_.beta2,
                      options_.eps,
                      options_.weight_decay,
                      decoupled_,
                      1 - std::pow(options_.beta1, time),
                      1 - std::pow(options_.beta2, time)};
  Tensor &mean = state["exp_avg"], &square = state["exp_avg_sq"];
  const auto n = static_cast<std::size_t>(parameter.numel());
  if (parameter.dtype() == DType::float32) {
    optimizer_kernels().adam(parameter.mutable_values<float>().data(), grad.data<float>(),
                             mean.mutable_data<float>(), square.mutable_data<float>(), n, step);
    return;
  }
  double *const p = parameter.mutable_values<double>().data(), *const m = mean.mutable_data<double>(),
                *const v = square.mutable_data<double>();
  for (std::size_t i = 0; i < n; ++i)
    p[i] = reference::adam_update<double, double>(p[i], grad.data<double>()[i], m[i], v[i], step);
}

}  // namespace nibble::nn
