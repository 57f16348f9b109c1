#pragma once

#include <memory>

#include "autograd/annotation.h"
#include "tensor/tensor.h"

namespace nibble {

class Node;

// A Tensor with its place in the graph. Copying a Variable copies the handle: both names mean the same value
// and gradient. Operations on Variables (ops_*.h) have the names of those on Tensors.
class Variable {
 public:
  Variable() = default;                                // undefined
  Variable(Tensor value, bool requires_grad = false);  // a leaf; implicit on purpose: constants mix in freely

  bool defined() const { return impl_ != nullptr; }
  const Tensor& value() const;
  const Shape& shape() const { return value().shape(); }
  std::int64_t size(int dim) const { return value().size(dim); }
  DType dtype() const { return value().dtype(); }

  bool requires_grad() const;
  // Accumulated by backward() in leaves, and in others after retain_grad(). Undefined before. In memory of
  // its own: changing it in place changes no other gradient.
  Tensor grad() const;
  void zero_grad();  // makes grad() undefined
  void set_grad(Tensor grad);
  void retain_grad();

  // The tensor of a leaf, for in-place updates (optimizers, loading). A leaf keeps its storage for life, so
  // every handle to it sees the update, and backward through an earlier use of the old value throws. Drops
  // the annotation, which spoke of the old elements.
  Tensor mutable_value();

  // Same value, outside the graph; shares the storage, keeps the annotation.
  Variable detach() const;

  // Gradients of this Variable with respect to all leaves are added to their grad(). `grad` is the upstream
  // gradient, 1 if undefined (then the value must have one element). The graph is freed unless retained.
  // Throws when called twice on a freed graph, or when a saved tensor was changed in place since.
  void backward(const Tensor& grad = {}, bool retain_graph = false) const;

  const std::shared_ptr<const Annotation>& annotation() const;
  // The same Variable (value, gradient, place in the graph) under another annotation.
  Variable with_annotation(std::shared_ptr<const Annotation> annotation) const;

  const std::shared_ptr<Node>& node() const;  // null when no gradient is required
  bool is_same(const Variable& other) const { return impl_ == other.impl_; }

 private:
  struct Impl {
    Tensor value;
    std::shared_ptr<Node> node;
    std::shared_ptr<const Annotation> annotation;
  };
  friend Variable make_variable(Tensor value, std::shared_ptr<Node> node);

  std::shared_ptr<Impl> impl_;
};

}  // namespace nibble
