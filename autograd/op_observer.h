#pragma once

#include <span>

#include "autograd/node.h"

namespace nibble {

// Sees the operations that this thread records, from construction to destruction; one at a time. For
// profilers: the time between two calls is that of the operation named by the second.
class OpObserver {
 public:
  OpObserver();  // throws std::logic_error when there is one already
  virtual ~OpObserver();
  OpObserver(const OpObserver&) = delete;
  OpObserver& operator=(const OpObserver&) = delete;

  // An operation has run; `out` has a node unless nothing needs its gradient. `intermediate`: as make_op().
  virtual void on_forward(const char* name, std::span<const Variable> inputs, const Variable& out,
                          std::int64_t intermediate) = 0;
  // `node` has sent gradients to those of its inputs that require one.
  virtual void on_backward(const Node& node) = 0;

  static OpObserver* current();  // null: nobody looks
};

}  // namespace nibble
