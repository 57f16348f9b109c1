#include <algorithm>
#include <map>

#include "autograd/no_grad.h"
#include "autograd/node.h"
#include "autograd/op_observer.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/layout.h"
#include "tensor/reduce.h"

namespace nibble {
namespace {

struct Pending {
  std::shared_ptr<Node> node;
  Tensor grad;  // undefined where nobody wants it
};

// Whether nobody else can see the elements: then they may be added to in place. Gradients are otherwise never
// written, since a closure may return a tensor it shares with others, or a broadcast view.
bool is_exclusive(const Tensor& grad) {
  return grad.storage().use_count() == 1 && grad.strides() == dense_strides_like(grad);
}

void accumulate(Tensor& sum, Tensor addend) {
  if (!sum.defined()) {
    sum = std::move(addend);
  } else if (is_exclusive(sum)) {
    add_in_place(sum, addend);
  } else {
    sum = add(sum, addend);
  }
}

Tensor exclusive(Tensor grad) {
  if (is_exclusive(grad)) return grad;
  Tensor copy = empty_in_layout_of(grad);
  copy.copy_from(grad);
  return copy;
}

void accumulate(Tensor& sum, const ElementGrad& grad, const Shape& shape) {
  sum = sum.defined() ? exclusive(std::move(sum)) : zeros(shape);
  sum.mutable_data<float>()[offset_of(sum, grad.index)] += grad.value;
}

}  // namespace

void run_backward(const std::shared_ptr<Node>& root, Tensor grad, bool retain_graph) {
  // By sequence number: the largest is never an input of another pending node.
  std::map<std::uint64_t, Pending> pending;
  std::vector<Pending> results;  // stored at the end, when nothing can fail any more but memory
  const NoGrad no_grad;

  pending[root->sequence_] = {root, std::move(grad)};
  while (!pending.empty()) {
    Pending current = std::move(pending.rbegin()->second);
    pending.erase(std::prev(pending.end()));
    Node& node = *current.node;
    if (node.keeps_grad_ && current.grad.defined()) results.push_back(current);
    if (node.leaf_) continue;

    NIBBLE_CHECK(node.backward_, "backward: the graph of ", node.name_,
                 " was freed by an earlier backward(); pass retain_graph to keep it");
    Needs needs;
    for (const auto& input : node.inputs_) {
      needs.push_back(input != nullptr && input->wanted_);
      if (input != nullptr && !input->wanted_) pending[input->sequence_].node = input;
    }
    const bool runs = std::find(needs.begin(), needs.end(), true) != needs.end();
    Grads grads = runs ? node.backward_(current.grad, needs) : Grads(needs.size());
    NIBBLE_ASSERT(grads.size() == node.inputs_.size());
    current.grad = Tensor();
    for (std::size_t i = 0; i < grads.size(); ++i) {
      if (!grads[i] || !needs[i]) continue;
      const std::shared_ptr<Node>& input = node.inputs_[i];
      Pending& slot = pending[input->sequence_];
      slot.node = input;
      if (const auto* element = std::get_if<ElementGrad>(&*grads[i])) {
        NIBBLE_CHECK(input->dtype_ == DType::float32, "backward: ", node.name_,
                     " returned the gradient of one element of float32 for input ", i, " of ", input->dtype_);
        accumulate(slot.grad, *element, input->shape_);
        continue;
      }
      const Tensor& grad = std::get<Tensor>(*grads[i]);
      NIBBLE_CHECK(grad.defined() && grad.dtype() == input->dtype_, "backward: ", node.name_,
                   " returned a gradient of ", grad.dtype(), " for input ", i, " of ", input->dtype_);
      Tensor addend = sum_to(grad, input->shape_);
      grads[i].reset();
      accumulate(slot.grad, std::move(addend));
    }
    if (OpObserver* observer = OpObserver::current(); observer && runs) observer->on_backward(node);
    if (!retain_graph) {
      node.backward_ = nullptr;
      node.inputs_.clear();
    }
  }

  for (Pending& result : results) {
    Tensor& sum = result.node->grad_;
    if (sum.defined()) {
      accumulate(sum, std::move(result.grad));
    } else {
      sum = exclusive(std::move(result.grad));
    }
  }
}

}  // namespace nibble
