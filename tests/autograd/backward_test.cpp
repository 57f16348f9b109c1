// The engine: order, ownership and life of gradients and graphs.

#include <cmath>
#include <functional>
#include <memory>

#include "autograd/no_grad.h"
#include "autograd/node.h"
#include "autograd/ops_elementwise.h"
#include "autograd/ops_loss.h"
#include "autograd/ops_matmul.h"
#include "autograd/ops_reduce.h"
#include "autograd/ops_shape.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;
using test::same_elements;

namespace {

// The identity, whose backward calls `observe` first.
Variable observed(const Variable& x, std::function<void(const Tensor& grad)> observe) {
  return make_op("observed", x.value(), {x}, [observe](const Tensor& grad, const Needs&) -> Grads {
    observe(grad);
    return {grad};
  });
}

}  // namespace

TEST_CASE("gradients add up over every use of a leaf and over broadcast dimensions") {
  Variable a(full({2, 3}, 2), true), b(full({3}, 5), true);
  const Variable y = a * b + a;
  y.backward(ones({2, 3}));
  CHECK(same_elements(a.grad(), full({2, 3}, 6)));
  CHECK(same_elements(b.grad(), full({3}, 4)));
}

TEST_CASE("an operation runs backward once, after everything that uses its result") {
  Variable x(scalar(3), true);
  std::vector<std::string> order;
  const Variable h = observed(x, [&](const Tensor& g) { order.push_back("h " + std::to_string(g.item())); });
  const Variable a = observed(h, [&](const Tensor&) { order.push_back("a"); });
  const Variable b = observed(h * 2, [&](const Tensor&) { order.push_back("b"); });
  (a + b).backward();
  CHECK(order == std::vector<std::string>{"b", "a", "h " + std::to_string(3.0)});
  CHECK(x.grad().item() == 3);
}

TEST_CASE("gradients are added in the order of creation, latest first, however the operands stand") {
  // In float32 (1e8 + 1) - 1e8 is 0, and (1e8 - 1e8) + 1 is 1.
  const auto gradient = [](const std::vector<double>& factors, bool mirrored) {
    Variable x(scalar(1), true);
    std::vector<Variable> terms;
    for (double factor : factors) terms.push_back(x * factor);
    Variable sum = terms[0];
    for (std::size_t i = 1; i < terms.size(); ++i) sum = mirrored ? terms[i] + sum : sum + terms[i];
    sum.backward();
    return x.grad().item();
  };
  for (const bool mirrored : {false, true}) {
    CHECK(gradient({1, -1e8, 1e8}, mirrored) == 1);
    CHECK(gradient({-1e8, 1, 1e8}, mirrored) == 0);
  }
}

TEST_CASE("the graph is freed by backward unless retained") {
  Variable x(scalar(3), true);
  const Variable y = x * x;
  y.backward({}, true);
  y.backward();
  CHECK(x.grad().item() == 12);
  CHECK_THROWS_WITH(y.backward(), Catch::Contains("the graph of mul was freed"));
  CHECK(x.grad().item() == 12);

  // Also where only a part of the graph was walked before.
  const Variable shared = x * x, other = shared + x;
  shared.backward();
  x.zero_grad();
  CHECK_THROWS_WITH(other.backward(), Catch::Contains("the graph of mul was freed"));
  CHECK(!x.grad().defined());
}

TEST_CASE("what an operation saved lives as long as its graph") {
  Variable x(ones({4}), true);
  std::weak_ptr<Storage> saved;
  SECTION("but only what it reads") {
    Variable y = x * 2;
    saved = y.value().storage();
    y = exp(y);  // reads its result alone
    CHECK(saved.expired());
  }
  SECTION("until the result goes out of scope") {
    {
      const Variable y = exp(x);
      saved = y.value().storage();
    }
    CHECK(saved.expired());  // exp saves its own result, which must not keep itself alive
  }
  SECTION("until backward, though the result lives on") {
    Variable hidden = exp(x);
    saved = hidden.value().storage();
    const Variable y = hidden * hidden;
    hidden = Variable();
    CHECK(!saved.expired());
    y.backward(ones({4}), true);
    CHECK(!saved.expired());
    y.backward(ones({4}));
    CHECK(saved.expired());
  }
}

TEST_CASE("an operand is saved only for a gradient that is wanted") {
  const auto is_kept = [](const std::function<Variable(const Variable&, const Variable&)>& op) {
    std::weak_ptr<Storage> storage;
    Variable y;
    {
      const Variable hidden = Variable(full({2, 2}, 3), true) + 1;
      storage = hidden.value().storage();
      y = op(hidden, Variable(ones({2, 2})));
    }
    return !storage.expired();
  };
  CHECK(!is_kept([](const Variable& x, const Variable& c) { return mul(x, c); }));
  CHECK(!is_kept([](const Variable& x, const Variable& c) { return div(x, c); }));
  CHECK(is_kept([](const Variable& x, const Variable& c) { return div(c, x); }));
  CHECK(!is_kept([](const Variable& x, const Variable& c) { return matmul(x, c); }));
  CHECK(!is_kept([](const Variable& x, const Variable& c) { return linear(x, c); }));
  CHECK(!is_kept([](const Variable& x, const Variable&) { return relu(x); }));
}

TEST_CASE("a graph a million operations deep is walked and freed without recursion") {
  Variable x(scalar(1), true);
  const auto deep = [&] {
    Variable y = x;
    for (int i = 0; i < 1000000; ++i) y = -y;
    return y;
  };
  deep().backward();
  CHECK(x.grad().item() == 1);
  deep();  // freed without having been walked
}

TEST_CASE("a wide and deep graph frees every node once") {
  Variable x(scalar(1), true);
  Variable y = x;
  for (int i = 0; i < 40; ++i) y = y + y;  // 2^40 paths
  y.backward();
  CHECK(x.grad().item() == std::ldexp(1.0, 40));
}

TEST_CASE("no graph is recorded under NoGrad, nor without an input that requires a gradient") {
  Variable x(ones({2}), true);
  {
    const NoGrad outer;
    { const NoGrad inner; }
    CHECK(!grad_enabled());
    CHECK(!exp(x).requires_grad());
    CHECK_THROWS_WITH(exp(x).backward(ones({2})), Catch::Contains("requires no gradient"));
  }
  CHECK(grad_enabled());
  CHECK(exp(x).requires_grad());
  CHECK(!exp(x.detach()).requires_grad());
  CHECK(!exp(Variable(ones({2}))).requires_grad());

  // Nor within backward, whose closures may call differentiable operations.
  bool recording = true;
  observed(x, [&](const Tensor&) { recording = grad_enabled(); }).backward(ones({2}));
  CHECK(!recording);

  // A constant factor gets no gradient, and its closure is told so.
  Variable constant(ones({2}));
  bool asked = true;
  make_op("ask", ones({2}), {x, constant}, [&](const Tensor& g, const Needs& needs) -> Grads {
    asked = needs[1];
    return {g, g};
  }).backward(ones({2}));
  CHECK(!asked);
  CHECK(!constant.grad().defined());
}

TEST_CASE("changing a saved tensor in place is an error, changing another is not") {
  Variable x(ones({2}), true), b(ones({2}), true);
  const Variable y = x * x + b;
  b.mutable_value().fill(7);  // addition reads no operand
  SECTION("through the leaf") { x.mutable_value().fill(3); }
  SECTION("through a view") { x.value().narrow(0, 1, 1).fill(3); }
  SECTION("through a detached Variable") { x.detach().mutable_value().fill(3); }
  SECTION("not at all") {
    y.backward(ones({2}));
    CHECK(same_elements(x.grad(), full({2}, 2)));
    return;
  }
  CHECK_THROWS_WITH(y.backward(ones({2})), Catch::Contains("modified in place"));
}

TEST_CASE("an exception in an operation changes no gradient and leaves the thread recording") {
  Variable early(ones({2}), true);
  const Variable y = observed(early * early, [](const Tensor&) { throw std::runtime_error("on purpose"); });
  Variable late(ones({2}), true);  // the largest sequence number but for the sum's: reached first
  const Variable sum = y + late;
  late.set_grad(full({2}, 5));
  CHECK_THROWS_WITH(sum.backward(ones({2})), "on purpose");
  CHECK(!early.grad().defined());
  CHECK(same_elements(late.grad(), full({2}, 5)));
  CHECK(grad_enabled());

  (early * late).backward(ones({2}));
  CHECK(same_elements(early.grad(), ones({2})));
  CHECK(same_elements(late.grad(), full({2}, 6)));
}

TEST_CASE("a closure that returns nonsense is named") {
  const Variable x(ones({2, 3}), true);
  const auto returning = [&](Grads grads) {
    make_op("bad", x.value(), {x}, [grads](const Tensor&, const Needs&) {
      return grads;
    }).backward(ones({2, 3}));
  };
  CHECK_THROWS_WITH(returning({ones({2, 3}, DType::float64)}), Catch::Contains("bad returned a gradient"));
  CHECK_THROWS_WITH(returning({Tensor()}), Catch::Contains("bad returned a gradient"));
  CHECK_THROWS_WITH(returning({ones({2, 2})}), Catch::Contains("[2, 2]"));
  CHECK_THROWS_AS(returning({}), std::logic_error);
  CHECK_NOTHROW(returning({std::nullopt}));
  CHECK(!x.grad().defined());

  Variable wide(zeros({2, 3}, DType::float64), true);
  const Variable picked =
      make_op("pick", zeros({}, DType::float64), {wide}, [](const Tensor&, const Needs&) -> Grads {
        return {ElementGrad{4, 3}};
      });
  CHECK_THROWS_WITH(picked.backward(),
                    Catch::Contains("pick returned the gradient of one element of float32") &&
                        Catch::Contains("of float64"));
  CHECK(!wide.grad().defined());
}

TEST_CASE("a gradient of one element is added at its row-major index, whatever the layout") {
  const auto pick = [](const Variable& x) {
    return make_op("pick", zeros({}), {x}, [](const Tensor&, const Needs&) -> Grads {
      return {ElementGrad{4, 3}};
    });
  };
  Variable x(zeros({3, 2}).transpose(0, 1), true);  // [2, 3]: index 4 is [1, 1]
  SECTION("alone") { pick(x).backward(); }
  SECTION("behind another gradient, which another node shares") {
    const Variable y(zeros({2, 3}), true);
    (sum(x + y) + pick(x)).backward();
    CHECK(same_elements(y.grad(), ones({2, 3})));
    for (int i = 0; i < 6; ++i) CHECK(x.grad().select(0, i / 3).select(0, i % 3).item() == (i == 4 ? 4 : 1));
    return;
  }
  for (int i = 0; i < 6; ++i) CHECK(x.grad().select(0, i / 3).select(0, i % 3).item() == (i == 4 ? 3 : 0));
}

TEST_CASE("a gradient lies in memory of its own") {
  Variable a(ones({2, 3}), true), b(ones({2, 3}), true);
  SECTION("not in that of another leaf") {
    (a + b).backward(ones({2, 3}));
    a.grad().fill(9);
    CHECK(same_elements(b.grad(), ones({2, 3})));
  }
  SECTION("not in the caller's") {
    Tensor upstream = ones({2, 3});
    reshape(a, {3, 2}).backward(upstream.reshape({3, 2}));
    upstream.fill(9);
    CHECK(same_elements(a.grad(), ones({2, 3})));
  }
  SECTION("not in a broadcast view") {
    sum(a).backward();
    CHECK(a.grad().is_contiguous());
    a.grad().narrow(1, 0, 1).fill(9);
    CHECK(same_elements(a.grad().narrow(1, 1, 2), ones({2, 2})));
  }
  SECTION("nor does a later backward write to what the caller took") {
    (a * 1).backward(ones({2, 3}));
    const Tensor taken = a.grad();
    (a * 1).backward(ones({2, 3}));
    CHECK(same_elements(taken, ones({2, 3})));
    CHECK(same_elements(a.grad(), full({2, 3}, 2)));
  }
  SECTION("and a retained one is not that of the leaf below") {
    Variable h = reshape(a, {6});
    h.retain_grad();
    (h * 2).backward(ones({6}));
    h.grad().fill(9);
    CHECK(same_elements(a.grad(), full({2, 3}, 2)));
  }
}

TEST_CASE("with_zero_gradient: the parameter counts as used, and nobody computes a gradient for its sake") {
  Variable parameter(full({2}, 3), true), w(ones({2}), true);
  const auto count = [](const Variable& x, const Variable& y, std::vector<Needs>& calls) {
    return make_op("count", add(x.value(), y.value()), {x, y},
                   [&](const Tensor& grad, const Needs& needs) -> Grads {
                     calls.push_back(needs);
                     return {needs[0] ? Grad(grad) : std::nullopt, needs[1] ? Grad(grad) : std::nullopt};
                   });
  };
  std::vector<Needs> below, above;
  SECTION("where nothing else depends on the gradient") {
    Variable h = with_zero_gradient(Variable(ones({2})), parameter);
    h.retain_grad();
    count(count(h, Variable(ones({2})), below), w, above).backward(full({2}, 5));
    CHECK(!h.grad().defined());
    CHECK(below.empty());
    CHECK(above == std::vector<Needs>{{false, true}});
    CHECK(same_elements(parameter.grad(), zeros({2})));
    CHECK(same_elements(w.grad(), full({2}, 5)));
  }
  SECTION("where x has a gradient of its own") {
    Variable x(ones({2}), true);
    const Variable h = with_zero_gradient(x * 2, parameter);
    count(count(h, Variable(ones({2})), below), w, above).backward(full({2}, 5));
    CHECK(below == std::vector<Needs>{{true, false}});
    CHECK(above == std::vector<Needs>{{true, true}});
    CHECK(same_elements(parameter.grad(), zeros({2})));
    CHECK(same_elements(x.grad(), full({2}, 10)));
  }
  SECTION("and added to what comes from elsewhere") {
    const Variable h = with_zero_gradient(Variable(ones({2})), parameter);
    (h * w + parameter * 4).backward(ones({2}));
    CHECK(same_elements(parameter.grad(), full({2}, 4)));
  }
}

TEST_CASE("accumulating into a gradient that nobody else holds allocates no other") {
  Variable a(ones({1000}), true);
  (a * 3).backward(ones({1000}));
  const std::byte* const place = a.grad().storage()->data();
  (a * 4).backward(ones({1000}));
  CHECK(a.grad().storage()->data() == place);
  CHECK(same_elements(a.grad(), full({1000}, 7)));
}

TEST_CASE("a gradient keeps the layout it was computed in") {
  // Batch innermost, as convolutional activations are.
  const Tensor x = ones({3, 4, 5, 16}).permute({3, 0, 1, 2});
  Variable a(x, true);
  (relu(a) * Variable(x) + a).backward(x);
  CHECK(a.grad().strides() == x.strides());
  CHECK(same_elements(a.grad(), full(x.shape(), 2)));
}

TEST_CASE("a training step allocates nothing from the system once warm") {
  Rng rng(5);
  Variable w1(uniform({64, 100}, -1, 1, rng), true), w2(uniform({10, 64}, -1, 1, rng), true);
  const Tensor x = uniform({32, 100}, -1, 1, rng), target = zeros({32}, DType::int64);
  std::size_t before = 0;
  for (int step = 0; step < 5; ++step) {
    if (step == 2) before = pool_stats().system_allocations;
    cross_entropy(linear(relu(linear(Variable(x), w1)), w2), target).backward();
    w1.zero_grad();
    w2.zero_grad();
  }
  CHECK(pool_stats().system_allocations == before);
}
