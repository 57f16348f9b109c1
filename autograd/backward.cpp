#include <map>

#include "autograd/no_grad.h"
#include "autograd/node.h"
#include "tensor/elementwise.h"
#include "tensor/reduce.h"

namespace nibble {

void run_backward(const std::shared_ptr<Node>& root, Tensor grad, bool retain_graph) {
  struct Pending {
    std::shared_ptr<Node> node;
    Tensor grad;
    bool owned;  // grad is ours to add to; else it may be a tensor that a closure or the caller still holds
  };
  // By sequence number: the largest is never an input of another pending node.
  std::map<std::uint64_t, Pending> pending;
  const NoGrad no_grad;

  const auto accumulate = [](Tensor& sum, bool& owned, const Tensor& addend) {
    if (!sum.defined()) {
      sum = addend;
    } else if (owned) {
      add_in_place(sum, addend);
    } else {
      sum = add(sum, addend);
      owned = true;
    }
  };

  pending[root->sequence_] = {root, std::move(grad), false};
  while (!pending.empty()) {
    const Pending current = std::move(std::prev(pending.end())->second);
    pending.erase(std::prev(pending.end()));
    Node& node = *current.node;
    if (node.keeps_grad_) {
      bool owned = false;  // the caller may hold grad()
      accumulate(node.grad_, owned, current.grad);
    }
    if (node.leaf_) continue;

    NIBBLE_CHECK(node.backward_, "backward: the graph of ", node.name_,
                 " was freed by an earlier backward(); pass retain_graph to keep it");
    Needs needs;
    for (const Node::Input& input : node.inputs_) needs.push_back(input.node != nullptr);
    Grads grads = node.backward_(current.grad, needs);
    NIBBLE_ASSERT(grads.size() == node.inputs_.size());
    for (std::size_t i = 0; i < grads.size(); ++i) {
      if (!grads[i] || !needs[i]) continue;
      const Node::Input& input = node.inputs_[i];
      auto& slot = pending[input.node->sequence_];
      if (!slot.node) slot = {input.node, Tensor(), false};
      accumulate(slot.grad, slot.owned, sum_to(*grads[i], input.shape));
    }
    if (!retain_graph) {
      node.backward_ = nullptr;
      node.inputs_.clear();
    }
  }
}

}  // namespace nibble
