#include "autograd/variable.h"

#include "autograd/ops_elementwise.h"
#include "tensor/factory.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;
using test::same_elements;

namespace {

struct Mark : Annotation {};

}  // namespace

TEST_CASE("copies of a Variable are one Variable") {
  Variable a(ones({2}), true);
  const Variable b = a;
  CHECK(a.is_same(b));
  (a * 3).backward(ones({2}));
  CHECK(same_elements(b.grad(), full({2}, 3)));
  a.zero_grad();
  CHECK(!b.grad().defined());
}

TEST_CASE("an annotated leaf is the leaf: one value, one gradient") {
  const auto mark = std::make_shared<Mark>();
  Variable plain(ones({2}), true);
  const Variable annotated = plain.with_annotation(mark);
  CHECK(annotated.annotation() == mark);
  CHECK(plain.annotation() == nullptr);
  CHECK(annotated.node() == plain.node());

  (plain + annotated).backward(ones({2}));
  CHECK(same_elements(plain.grad(), full({2}, 2)));
  CHECK(same_elements(annotated.grad(), full({2}, 2)));

  plain.mutable_value().fill(7);
  CHECK(same_elements(annotated.value(), full({2}, 7)));
}

TEST_CASE("an annotation does not outlive the elements it spoke of") {
  const auto mark = std::make_shared<Mark>();
  Variable x = Variable(ones({2}), true).with_annotation(mark);
  CHECK(x.detach().annotation() == mark);
  CHECK(!x.detach().requires_grad());
  x.mutable_value().fill(3);
  CHECK(x.annotation() == nullptr);
}

TEST_CASE("the storage of a leaf cannot be exchanged, nor a result written to") {
  Variable leaf(ones({2}), true);
  leaf.mutable_value() = zeros({5});  // of the handle that was returned
  CHECK(same_elements(leaf.value(), ones({2})));
  Variable result = leaf * 2;
  CHECK_THROWS_WITH(result.mutable_value(), "mutable_value: not a leaf");
}

TEST_CASE("a Variable meets a number") {
  const Variable x(from_values<float>({2}, {1, 4}), true);
  CHECK(same_elements((((x + 1) * 6 - 3) / 3).value(), from_values<float>({2}, {3, 9})));
  const Variable d(ones({2}, DType::float64), true);
  CHECK((d * 0.1).value().data<double>()[0] == 0.1);
}

TEST_CASE("misuse of a Variable names what is wrong") {
  CHECK_THROWS_WITH(Variable().value(), "variable: undefined");
  CHECK_THROWS_WITH(Variable(ones({2}, DType::int32), true), Catch::Contains("int32"));
  Variable x(ones({2}), true), constant(ones({2}));
  CHECK_THROWS_WITH(x.backward(), Catch::Contains("not a scalar"));
  CHECK_THROWS_WITH(x.backward(ones({3})), Catch::Contains("[3]"));
  CHECK_THROWS_WITH(x.backward(ones({2}, DType::float64)), Catch::Contains("float64"));
  CHECK_THROWS_WITH(constant.backward(ones({2})), Catch::Contains("requires no gradient"));
  CHECK_THROWS_WITH(constant.set_grad(ones({2})), Catch::Contains("requires no gradient"));
  CHECK_THROWS_WITH(x.set_grad(ones({3})), Catch::Contains("[3]"));
  CHECK_THROWS_AS(x.set_grad(Tensor()), std::invalid_argument);
  CHECK_THROWS_WITH(constant.retain_grad(), Catch::Contains("requires no gradient"));
}
