#include "autograd/variable.h"

#include "autograd/node.h"
#include "tensor/factory.h"

namespace nibble {

Variable::Variable(Tensor value, bool requires_grad) : impl_(std::make_shared<Impl>()) {
  NIBBLE_CHECK(value.defined(), "variable: undefined tensor");
  NIBBLE_CHECK(!requires_grad || is_floating_point(value.dtype()), "variable: dtype ", value.dtype(),
               " cannot require a gradient");
  if (requires_grad) impl_->node = Node::leaf(value);
  impl_->value = std::move(value);
}

Variable make_variable(Tensor value, std::shared_ptr<Node> node) {
  Variable result(std::move(value));
  result.impl_->node = std::move(node);
  return result;
}

const Tensor& Variable::value() const {
  NIBBLE_CHECK(defined(), "variable: undefined");
  return impl_->value;
}

const std::shared_ptr<Node>& Variable::node() const {
  NIBBLE_CHECK(defined(), "variable: undefined");
  return impl_->node;
}

bool Variable::requires_grad() const { return node() != nullptr; }
Tensor Variable::grad() const { return node() ? node()->grad_ : Tensor(); }

void Variable::zero_grad() {
  if (node()) node()->grad_ = Tensor();
}

void Variable::set_grad(Tensor grad) {
  NIBBLE_CHECK(requires_grad(), "set_grad: the variable requires no gradient");
  NIBBLE_CHECK(grad.defined() && grad.shape() == shape() && grad.dtype() == dtype(),
               "set_grad: gradient has shape ", grad.shape(), " and dtype ", grad.dtype(), ", the value ",
               shape(), " and ", dtype());
  node()->grad_ = std::move(grad);
}

void Variable::retain_grad() {
  NIBBLE_CHECK(requires_grad(), "retain_grad: the variable requires no gradient");
  node()->keeps_grad_ = true;
}

Tensor Variable::mutable_value() {
  NIBBLE_CHECK(!node() || node()->is_leaf(), "mutable_value: not a leaf");
  impl_->annotation.reset();
  return impl_->value;
}

Variable Variable::detach() const { return Variable(value()).with_annotation(annotation()); }

const std::shared_ptr<const Annotation>& Variable::annotation() const {
  NIBBLE_CHECK(defined(), "variable: undefined");
  return impl_->annotation;
}

Variable Variable::with_annotation(std::shared_ptr<const Annotation> annotation) const {
  Variable result = make_variable(value(), node());
  result.impl_->annotation = std::move(annotation);
  return result;
}

void Variable::backward(const Tensor& grad, bool retain_graph) const {
  NIBBLE_CHECK(requires_grad(), "backward: the variable requires no gradient");
  NIBBLE_CHECK(grad.defined() || value().numel() == 1, "backward: shape ", shape(),
               " is not a scalar; pass the upstream gradient");
  NIBBLE_CHECK(!grad.defined() || (grad.shape() == shape() && grad.dtype() == dtype()),
               "backward: gradient has shape ", grad.shape(), " of ", grad.dtype(), ", the value ", shape(),
               " of ", dtype());
  run_backward(node(), grad.defined() ? grad : ones(shape(), dtype()), retain_graph);
}

}  // namespace nibble
