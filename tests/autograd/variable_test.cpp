#include "autograd/variable.h"

#include "autograd/ops_elementwise.h"
#include "tensor/factory.h"
#include "tests/support/catch.h"

using namespace nibble;

TEST_CASE("gradients add up over every use of a leaf and over broadcast dimensions") {
  Variable a(full({2, 3}, 2), true), b(full({3}, 5), true);
  const Variable y = a * b + a;
  y.backward(ones({2, 3}));
  CHECK(a.grad().values<float>()[0] == 6);
  CHECK(b.grad().values<float>()[0] == 4);
}

TEST_CASE("a graph a million operations deep is walked and freed without recursion") {
  Variable x(scalar(1), true);
  {
    Variable y = x;
    for (int i = 0; i < 1000000; ++i) y = -y;
    y.backward();
  }
  CHECK(x.grad().item() == 1);
}

TEST_CASE("changing a saved tensor in place is an error") {
  Variable x(ones({2}), true);
  const Variable y = x * x;
  x.mutable_value().fill(3);
  CHECK_THROWS(y.backward(ones({2})));
}
