#include "autograd/node.h"

#include <atomic>

#include "autograd/no_grad.h"
#include "autograd/op_observer.h"
#include "tensor/factory.h"

namespace nibble {
namespace {

thread_local bool enabled = true;
std::atomic<std::uint64_t> next_sequence{0};

}  // namespace

bool grad_enabled() { return enabled; }
NoGrad::NoGrad() : before_(enabled) { enabled = false; }
NoGrad::~NoGrad() { enabled = before_; }

const Tensor& SavedTensor::get() const {
  NIBBLE_ASSERT(tensor_.defined());
  NIBBLE_CHECK(tensor_.storage()->version() == version_, "backward: a tensor of shape ", tensor_.shape(),
               " that this operation saved was modified in place since the forward pass");
  return tensor_;
}

Node::Node(const char* name, const Tensor& out)
    : name_(name), sequence_(next_sequence++), shape_(out.shape()), dtype_(out.dtype()) {}

Node::Node(const char* name, const Tensor& out, std::span<const Variable> inputs, Backward backward)
    : Node(name, out) {
  backward_ = std::move(backward);
  for (const Variable& input : inputs) {
    inputs_.push_back(input.node());
    wanted_ |= wants_grad(input);
  }
}

std::shared_ptr<Node> Node::leaf(const Tensor& value) {
  std::shared_ptr<Node> node(new Node("leaf", value));
  node->leaf_ = true;
  node->keeps_grad_ = true;
  node->wanted_ = true;
  return node;
}

// Frees a chain of nodes iteratively: a deep graph must not recurse through destructors.
Node::~Node() {
  std::vector<std::shared_ptr<Node>> doomed;
  const auto take_inputs = [&doomed](Node& node) {
    for (std::shared_ptr<Node>& input : node.inputs_)
      if (input.use_count() == 1) doomed.push_back(std::move(input));
    node.inputs_.clear();
  };
  take_inputs(*this);
  while (!doomed.empty()) {
    const std::shared_ptr<Node> node = std::move(doomed.back());
    doomed.pop_back();
    take_inputs(*node);
  }
}

Variable make_op(const char* name, Tensor out, std::span<const Variable> inputs, Backward backward,
                 std::int64_t intermediate) {
  bool needed = false;
  for (const Variable& input : inputs) needed |= input.requires_grad();
  Variable result;
  if (needed && enabled) {
    auto node = std::make_shared<Node>(name, out, inputs, std::move(backward));
    result = make_variable(std::move(out), std::move(node));
  } else {
    result = Variable(std::move(out));
  }
  if (OpObserver* observer = OpObserver::current()) observer->on_forward(name, inputs, result, intermediate);
  return result;
}

Variable with_zero_gradient(const Variable& x, const Variable& parameter) {
  Variable y = make_op("with_zero_gradient", x.value(), {x, parameter},
                       [shape = parameter.shape(), dtype = parameter.dtype()](const Tensor& grad,
                                                                              const Needs& needs) -> Grads {
                         return {needs[0] ? Grad(grad) : std::nullopt, zeros(shape, dtype)};
                       });
  if (y.requires_grad()) y.node()->wanted_ = wants_grad(x);
  return y;
}

}  // namespace nibble
