#include "nn/sequential.h"

#include "nn/activation.h"
#include "nn/pool.h"

namespace nibble::nn {

Variable Sequential::forward(const Variable& x) {
  const auto& layers = named_children();
  Variable y = x;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    Module& layer = *layers[i].second;
    auto* const activation = dynamic_cast<PoolableActivation*>(&layer);
    if (activation != nullptr && i + 1 < layers.size()) {
      if (const auto* pool = dynamic_cast<const MaxPool2d*>(layers[i + 1].second.get())) {
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
