#pragma once

namespace nibble {

// Opaque facts about the elements of a Variable that stay true when elements are only selected or moved.
// max_pool2d, reshape, flatten and the like hand a Variable's annotation on to their result; every other
// operation drops it. The quantization library derives from it to carry scale and bit width through a network
// without a quantized twin of each layer.
struct Annotation {
  virtual ~Annotation() = default;
};

}  // namespace nibble
