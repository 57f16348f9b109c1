#pragma once

#include "data/augment.h"
#include "data/mnist.h"

namespace nibble::data {

// Labelled images and what is done to them on the way out. An augmented image is a function of (seed, epoch,
// index): the same whatever the order, the batch or the thread it is made in.
struct Dataset {
  LabelledImages source;
  Augmentation augmentation;
  std::uint64_t seed = 0;

  std::int64_t size() const { return source.images.size(0); }
  // How image `index` looks in `epoch`.
  AffineMap map(std::int64_t index, std::int64_t epoch) const;

  // The first n images (all when n is 0 or too large).
  Dataset first(std::int64_t n) const;
  // The images as they look in epoch 0, once and for all: a frozen test set.
  Dataset frozen() const;
};

}  // namespace nibble::data
