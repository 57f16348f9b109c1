#pragma once

#include <typeinfo>

#include "nn/module.h"

namespace nibble::nn {

// The module as an M if that is its very type, else null: a layer derived from M may compute something else.
template <class M>
M* exactly(Module& module) {
  return typeid(module) == typeid(M) ? static_cast<M*>(&module) : nullptr;
}

}  // namespace nibble::nn
