#include "nn/sequential.h"

#include "nn/activation.h"
#include "nn/conv2d.h"
#include "nn/exactly.h"
#include "nn/pool.h"

namespace nibble::nn {

Variable Sequential::forward(const Variable& x) {
  const auto& layers = named_children();
  const auto pool_at = [&](std::size_t i) {
    return i < layers.size() ? exactly<MaxPool2d>(*layers[i].second) : nullptr;
  };
  Variable y = x;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    Module& layer = *layers[i].second;
    if (const auto* conv = exactly<Conv2d>(layer)) {
      const bool relu = i + 1 < layers.size() && exactly<ReLU>(*layers[i + 1].second) != nullptr;
      if (const MaxPool2d* pool = pool_at(i + 1 + relu)) {
        PoolOptions options = pool->options();
        options.relu |= relu;
        y = conv2d_max_pool2d(y, conv->weight(), conv->bias(), conv->options(), pool->kernel(), options);
        i += 1 + relu;
        continue;
      }
    }
    if (auto* const activation = dynamic_cast<PoolableActivation*>(&layer)) {
      if (const MaxPool2d* pool = pool_at(i + 1)) {
        y = activation->forward_pooled(y, *pool);
        ++i;
        continue;
      }
    }
    y = layer(y);
  }
  return y;
}

}  // namespace nibble::nn
