#include "nn/batch_norm2d.h"

#include "autograd/ops_elementwise.h"
#include "autograd/ops_reduce.h"
#include "autograd/ops_shape.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"

namespace nibble::nn {

namespace {

Variable normalize(const Variable& centered, const Variable& variance, const Variable& weight,
                   const Variable& bias, double eps) {
  const Shape per_channel{weight.size(0), 1, 1};
  const Variable deviation = sqrt(add(variance, Variable(scalar(eps, variance.dtype()))));
  return add(mul(centered, div(reshape(weight, per_channel), deviation)), reshape(bias, per_channel));
}

}  // namespace

BatchNormResult batch_norm2d(const Variable& x, const Variable& weight, const Variable& bias, double eps) {
  const Variable batch_mean = mean(x, {0, 2, 3}, true);
  const Variable centered = sub(x, batch_mean);
  const Variable variance = mean(mul(centered, centered), {0, 2, 3}, true);
  return {normalize(centered, variance, weight, bias, eps), batch_mean, variance};
}

BatchNorm2d::BatchNorm2d(std::int64_t channels, const BatchNorm2dOptions& options)
    : options_(options),
      weight_(register_parameter("weight", ones({channels}))),
      bias_(register_parameter("bias", zeros({channels}))),
      running_mean_(register_buffer("running_mean", zeros({channels}))),
      running_var_(register_buffer("running_var", ones({channels}))),
      num_batches_tracked_(register_buffer("num_batches_tracked", zeros({}, DType::int64))) {}

Variable BatchNorm2d::forward(const Variable& x) {
  const std::int64_t channels = weight_.size(0);
  NIBBLE_CHECK(x.value().rank() == 4 && x.size(1) == channels, "BatchNorm2d: input has shape ", x.shape(),
               ", expected [N, ", channels, ", H, W]");
  if (!is_training()) {
    const Shape per_channel{channels, 1, 1};
    return normalize(sub(x, Variable(running_mean_.clone().reshape(per_channel))),
                     Variable(running_var_.clone().reshape(per_channel)), weight_, bias_, options_.eps);
  }
  const std::int64_t count = x.value().numel() / std::max<std::int64_t>(channels, 1);
  NIBBLE_CHECK(count > 1, "BatchNorm2d: ", count, " values per channel, training needs more than 1");
  const BatchNormResult result = batch_norm2d(x, weight_, bias_, options_.eps);
  const double m = options_.momentum, unbiased = static_cast<double>(count) / static_cast<double>(count - 1);
  running_mean_.copy_from(running_mean_ * (1 - m) + result.mean.value().reshape({channels}) * m);
  running_var_.copy_from(running_var_ * (1 - m) +
                         result.variance.value().reshape({channels}) * (m * unbiased));
  ++*num_batches_tracked_.mutable_data<std::int64_t>();
  return result.y;
}

}  // namespace nibble::nn
