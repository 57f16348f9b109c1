#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <variant>
#include <vector>

#include "autograd/variable.h"

namespace nibble {

// The gradient with respect to a float32 tensor of which one element mattered: `value` there, zero elsewhere.
struct ElementGrad {
  std::int64_t index;  // row-major
  float value;
};
using Grad = std::optional<std::variant<Tensor, ElementGrad>>;  // nullopt: none
using Grads = std::vector<Grad>;                                // one per input
using Needs = std::vector<bool>;                                // which inputs want one
// Pure: returns the gradients of the inputs, given that of the result, and changes nothing. A gradient has
// the dtype of its input; it may be a view, may be `grad_out` itself, and may have the broadcast shape of the
// result, which the engine sums to the input's shape.
using Backward = std::function<Grads(const Tensor& grad_out, const Needs& needs)>;

// The whole extension interface of autograd: a Variable holding `out`, whose gradient `backward` maps to
// those of `inputs`. Records nothing (drops the closure) under NoGrad or when no input requires a gradient.
// Capture tensors that backward reads as SavedTensor. `intermediate` is for profilers: the elements of a
// result that an operation made of two computed on its way to `out` and did not keep.
Variable make_op(const char* name, Tensor out, std::span<const Variable> inputs, Backward backward,
                 std::int64_t intermediate = 0);
inline Variable make_op(const char* name, Tensor out, std::initializer_list<Variable> inputs,
                        Backward backward) {
  return make_op(name, std::move(out), std::span(inputs.begin(), inputs.size()), std::move(backward));
}

// x, from which backward gives `parameter` the gradient 0, whatever it gives else: optimizers then count the
// step for a parameter that this step's x does not depend on. That alone makes no operation compute the
// gradient of an input: one that depends on nothing else gets none, and keeps none for retain_grad().
Variable with_zero_gradient(const Variable& x, const Variable& parameter);

// A tensor kept for backward. get() throws when the tensor was changed in place in the meantime.
class SavedTensor {
 public:
  SavedTensor() = default;  // nothing; get() may not be called
  SavedTensor(const Tensor& tensor) : tensor_(tensor), version_(tensor.storage()->version()) {}
  const Tensor& get() const;

 private:
  Tensor tensor_;
  std::uint64_t version_ = 0;
};

// One recorded operation, or a leaf (no inputs). Nodes are numbered in order of creation, which is a
// topological order: backward needs no search.
class Node {
 public:
  static std::shared_ptr<Node> leaf(const Tensor& value);
  Node(const char* name, const Tensor& out, std::span<const Variable> inputs, Backward backward);
  ~Node();
  Node(const Node&) = delete;
  Node& operator=(const Node&) = delete;

  const char* name() const { return name_; }
  std::uint64_t sequence() const { return sequence_; }
  bool is_leaf() const { return leaf_; }
  // Whether a leaf depends on its gradient: false below with_zero_gradient() alone.
  bool is_wanted() const { return wanted_; }

 private:
  friend class Variable;
  friend Variable with_zero_gradient(const Variable& x, const Variable& parameter);
  friend void run_backward(const std::shared_ptr<Node>& root, Tensor grad, bool retain_graph);
  Node(const char* name, const Tensor& out);

  const char* name_;
  std::uint64_t sequence_;
  Shape shape_;
  DType dtype_;
  bool leaf_ = false;
  bool keeps_grad_ = false;
  bool wanted_ = false;
  std::vector<std::shared_ptr<Node>> inputs_;  // null: needs no gradient
  Backward backward_;
  Tensor grad_;
};

inline bool wants_grad(const Variable& x) { return x.requires_grad() && x.node()->is_wanted(); }

// For a tensor that only the gradient of `input` reads: kept when that gradient is wanted.
inline SavedTensor saved_for(const Variable& input, const Tensor& tensor) {
  return wants_grad(input) ? SavedTensor(tensor) : SavedTensor();
}

Variable make_variable(Tensor value, std::shared_ptr<Node> node);

// Adds what follows from `grad` to the gradients of the leaves below `root` (and of nodes that retain
// theirs). All or nothing: when an operation throws, no gradient has changed. The part of the graph walked so
// far is freed even then.
void run_backward(const std::shared_ptr<Node>& root, Tensor grad, bool retain_graph);

}  // namespace nibble
