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
