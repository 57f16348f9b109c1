#include "autograd/gradcheck.h"

#include <cmath>

#include "autograd/no_grad.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/reduce.h"

namespace nibble {

void gradcheck(const std::function<Variable(const std::vector<Variable>&)>& f,
               const std::vector<Tensor>& inputs, const GradcheckOptions& options) {
  std::vector<Variable> variables;
  for (const Tensor& input : inputs) {
    NIBBLE_CHECK(input.dtype() == DType::float64, "gradcheck: input ", variables.size(), " has dtype ",
                 input.dtype(), ", expected float64");
    variables.emplace_back(input.clone(), true);
  }
  const Variable y = f(variables);
  Rng rng(0x67726164);
  // All directions at once: an error in any element of the result shows in the projection.
  const Tensor projection = uniform(y.shape(), 0.5, 1.5, rng, DType::float64);
  y.backward(projection);

  const NoGrad no_grad;
  const auto project = [&] { return sum(mul(f(variables).value(), projection)).item(); };
  for (std::size_t i = 0; i < variables.size(); ++i) {
    const Tensor grad = variables[i].grad().defined() ? variables[i].grad().contiguous()
                                                      : zeros(variables[i].shape(), DType::float64);
    for (std::int64_t k = 0; k < grad.numel(); ++k) {
      double& element = variables[i].mutable_value().mutable_data<double>()[k];
      const double value = element;
      element = value + options.step;
      const double above = project();
      element = value - options.step;
      const double below = project();
      element = value;
      const double numeric = (above - below) / (2 * options.step), analytic = grad.data<double>()[k];
      if (!(std::abs(analytic - numeric) <= options.tolerance * std::max(1.0, std::abs(numeric))))
        throw std::runtime_error(detail::concat("gradcheck: input ", i, ", element ", k, " of ", grad.shape(),
                                                ": backward gives ", analytic, ", differences give ",
                                                numeric));
    }
  }
}

}  // namespace nibble
