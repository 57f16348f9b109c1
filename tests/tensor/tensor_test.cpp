#include "tensor/tensor.h"

#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/reduce.h"
#include "tests/support/catch.h"

using namespace nibble;

TEST_CASE("views share the storage, clone does not") {
  Tensor x = arange(6, DType::float32).reshape({2, 3});
  const Tensor t = x.transpose(0, 1);
  CHECK(t.shape() == Shape{3, 2});
  CHECK_FALSE(t.is_contiguous());
  const Tensor copy = t.clone();
  x.fill(7);
  CHECK(t.select(0, 1).select(0, 0).item() == 7);
  CHECK(copy.values<float>()[1] == 3);
}

TEST_CASE("operands of the same permuted layout keep it") {
  const Tensor x = arange(24, DType::float32).reshape({2, 3, 4}).permute({2, 0, 1});
  const Tensor y = add(x, x);
  CHECK(y.strides() == x.strides());
  CHECK(sum(y).item() == 2 * 276);
  const Tensor z = add(x, arange(3, DType::float32));
  CHECK(sum(z).item() == 276 + 8 * 3);
}

TEST_CASE("shapes that do not fit are named") {
  CHECK_THROWS_WITH(add(zeros({2, 3}), zeros({4})), "add: shapes [2, 3] and [4] do not broadcast");
}

TEST_CASE("reshape is a view where the strides allow it, else a copy in row-major order") {
  const Tensor chwn = arange(2 * 3 * 4 * 5, DType::float32).reshape({2, 3, 4, 5});
  const Tensor x = chwn.permute({3, 0, 1, 2});  // logical [5, 2, 3, 4], batch innermost in memory
  const Tensor flat = x.flatten(1);
  CHECK(flat.storage() == x.storage());
  CHECK(flat.strides() == Strides{1, 5});
  const Tensor all = x.reshape({-1});
  CHECK(all.storage() != x.storage());
  CHECK(all.values<float>()[1] == 5);
  CHECK(x.reshape({5, 6, 4}).reshape({5, 2, 1, 12}).storage() == x.storage());
  CHECK(zeros({0, 3}).reshape({3, 0}).shape() == Shape{3, 0});
}

TEST_CASE("a broadcast view is no target: several threads would write one element") {
  Tensor wide = zeros({3, 1}).broadcast_to({3, 5}), one = zeros({1}).broadcast_to({1}).unsqueeze(0);
  CHECK_THROWS_WITH(wide.copy_from(ones({5})), Catch::Contains("copy_from: the target is a broadcast view") &&
                                                   Catch::Contains("[3, 5]"));
  CHECK_THROWS_WITH(wide.fill(1), Catch::Contains("fill: the target is a broadcast view"));
  CHECK_THROWS_WITH(add_in_place(wide, ones({5})), Catch::Contains("broadcast view"));
  CHECK(sum(wide).item() == 0);
  one.fill(2);  // stride 0, but nothing else lies there
  CHECK(one.item() == 2);
  one.copy_from(scalar(3));
  CHECK(one.item() == 3);
  CHECK_THROWS_WITH(Tensor().fill(1), "fill: undefined tensor");
}
