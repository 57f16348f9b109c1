#include "nn/batch_norm2d.h"

#include "autograd/no_grad.h"
#include "autograd/ops_elementwise.h"
#include "autograd/ops_reduce.h"
#include "autograd/ops_shape.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"

namespace nibble::nn {

BatchNorm2d::BatchNorm2d(std::int64_t channels, const BatchNorm2dOptions& options)
    : options_(options),
      weight_(register_parameter("weight", ones({channels}))),
      bias_(register_parameter("bias", zeros({channels}))),
      running_mean_(register_buffer("running_mean", zeros({channels}))),
      running_var_(register_buffer("running_var", ones({channels}))) {}

Variable BatchNorm2d::forward(const Variable& x) {
  const std::int64_t channels = weight_.size(0);
  NIBBLE_CHECK(x.value().rank() == 4 && x.size(1) == channels, "BatchNorm2d: input has shape ", x.shape(),
               ", expected [N, ", channels, ", H, W]");
  const Shape per_channel{channels, 1, 1};
  Variable centered, variance;
  if (is_training()) {
    const std::int64_t count = x.value().numel() / std::max<std::int64_t>(channels, 1);
    NIBBLE_CHECK(count > 1, "BatchNorm2d: ", count, " values per channel, training needs more than 1");
    const Variable batch_mean = mean(x, {0, 2, 3}, true);
    centered = sub(x, batch_mean);
    variance = mean(mul(centered, centered), {0, 2, 3}, true);
    const double m = options_.momentum,
                 unbiased = static_cast<double>(count) / static_cast<double>(count - 1);
    running_mean_.copy_from(running_mean_ * (1 - m) + batch_mean.value().reshape({channels}) * m);
    running_var_.copy_from(running_var_ * (1 - m) + variance.value().reshape({channels}) * (m * unbiased));
  } else {
    centered = sub(x, Variable(running_mean_.to(x.dtype()).clone().reshape(per_channel)));
    variance = Variable(running_var_.to(x.dtype()).clone().reshape(per_channel));
  }
  const Variable deviation = sqrt(add(variance, Variable(scalar(options_.eps, x.dtype()))));
  return add(mul(centered, div(reshape(weight_, per_channel), deviation)), reshape(bias_, per_channel));
}

}  // namespace nibble::nn
