#include "tensor/elementwise.h"

#include <cmath>

#include "tensor/factory.h"
#include "tensor/parallel.h"
#include "tensor/reduce.h"
#include "tests/support/catch.h"

using namespace nibble;

namespace {

// a - b, element by element through item(): slow, and independent of every loop under test.
double naive_difference(const Tensor& result, const Tensor& a, const Tensor& b) {
  if (result.rank() == 0) return std::abs(result.item() - (a.item() - b.item()));
  double worst = 0;
  for (std::int64_t i = 0; i < result.size(0); ++i)
    worst = std::max(worst, naive_difference(result.select(0, i), a.select(0, i), b.select(0, i)));
  return worst;
}

Tensor numbers(const Shape& shape, Rng& rng, DType dtype) {
  return round(uniform(shape, -50, 50, rng)).to(dtype);
}

}  // namespace

TEST_CASE("binary operations broadcast over operands of any layout") {
  Rng rng(1);
  const Shape shape{3, 4, 5, 18};
  for (DType dtype : {DType::float32, DType::float64, DType::int8, DType::int64}) {
    const Tensor block = numbers(shape, rng, dtype);
    const std::vector<Tensor> lefts{block, numbers({18, 3, 4, 5}, rng, dtype).permute({1, 2, 3, 0}),
                                    numbers({3, 4, 5, 20}, rng, dtype).narrow(3, 1, 18),
                                    numbers({18, 4, 5, 7}, rng, dtype).permute({3, 1, 2, 0}).narrow(0, 2, 3)};
    std::vector<Tensor> rights = lefts;
    rights.push_back(numbers({4, 1, 1}, rng, dtype));
    rights.push_back(numbers({18}, rng, dtype));
    rights.push_back(numbers({3, 1, 5, 1}, rng, dtype));
    rights.push_back(numbers({18, 5}, rng, dtype).transpose(0, 1));
    rights.push_back(scalar(7, dtype));
    for (const Tensor& a : lefts)
      for (const Tensor& b : rights) {
        INFO(dtype << " strides " << a.strides() << " and " << b.shape() << ' ' << b.strides());
        const Tensor wide = b.broadcast_to(shape);
        CHECK(naive_difference(sub(a, b), a, wide) == 0);
        CHECK(naive_difference(sub(b, a), wide, a) == 0);
      }
  }
  CHECK(add(numbers({4, 1}, rng, DType::float32), numbers({1, 3}, rng, DType::float32)).shape() ==
        Shape{4, 3});
  const Tensor column = arange(4, DType::float32).unsqueeze(1), row = arange(3, DType::float32);
  CHECK(naive_difference(sub(column, row), column.broadcast_to({4, 3}), row.broadcast_to({4, 3})) == 0);
}

TEST_CASE("results are dense and keep the order of the dimensions in memory") {
  Rng rng(2);
  const Tensor batch_innermost = normal({2, 5, 5, 8}, 0, 1, rng).permute({3, 0, 1, 2});
  const Strides kept = batch_innermost.strides();
  CHECK(relu(batch_innermost).strides() == kept);
  CHECK(add(batch_innermost, normal({2, 1, 1}, 0, 1, rng)).strides() == kept);
  CHECK(mul(normal({2, 1, 1}, 0, 1, rng), batch_innermost).strides() == kept);
  CHECK((batch_innermost * 2.0).strides() == kept);
  const Tensor part = batch_innermost.narrow(0, 1, 3);
  CHECK(relu(part).strides() == Strides{1, 75, 15, 3});
  CHECK(abs_max(sub(relu(part), relu(part.clone()))).item() == 0);
  CHECK(relu(zeros({3}).broadcast_to({2, 3})).is_contiguous());
  const Tensor column = normal({6, 5}, 0, 1, rng).select(1, 2);
  CHECK(abs_max(sub(neg(column), neg(column.clone()))).item() == 0);
}

TEST_CASE("tensors without elements pass through") {
  CHECK(relu(zeros({0, 3})).shape() == Shape{0, 3});
  CHECK(add(zeros({0, 3}), ones({3})).shape() == Shape{0, 3});
  CHECK(add(zeros({3, 0}), ones({3, 1})).shape() == Shape{3, 0});
  Tensor nothing = zeros({0});
  add_in_place(nothing, ones({1}));
  CHECK(nothing.numel() == 0);
}

TEST_CASE("add_in_place writes through views, and only there") {
  Rng rng(3);
  for (int dim = 0; dim < 3; ++dim) {
    const Tensor original = normal({4, 5, 6}, 0, 1, rng);
    Tensor block = original.clone();
    Tensor view = block.narrow(dim, 1, 2).permute({2, 0, 1});
    const Tensor x = normal(view.shape(), 0, 1, rng);
    const Tensor expected = add(view, x);
    add_in_place(view, x);
    CHECK(sum(equal(view, expected)).item() == static_cast<double>(view.numel()));
    CHECK(sum(equal(block, original)).item() == static_cast<double>(block.numel() - view.numel()));
  }
  Tensor square = arange(9, DType::float32).reshape({3, 3});
  add_in_place(square, square.transpose(0, 1));  // overlaps its own source
  CHECK(square.values<float>()[1] == 4);
  CHECK(square.values<float>()[3] == 4);
  Tensor column = square.select(1, 0);
  add_in_place(column, scalar(10));
  CHECK(square.values<float>()[3] == 14);
  CHECK(square.values<float>()[4] == 8);
  Tensor wide = ones({1}).broadcast_to({3});
  CHECK_THROWS_AS(add_in_place(wide, ones({3})), std::invalid_argument);
  CHECK_THROWS_AS(add_in_place(square, ones({2, 3, 3})), std::invalid_argument);
}

TEST_CASE("elementwise results do not depend on the thread count") {
  Rng rng(4);
  const Tensor x = normal({100003}, 0, 1, rng), y = normal({701, 3, 70}, 0, 1, rng);
  const int threads = num_threads();
  const auto run = [&](int count) {
    set_num_threads(count);
    return std::vector<Tensor>{exp(x), add(x, x), mul(y, y.select(0, 3)), tanh(y.transpose(0, 2))};
  };
  const auto one = run(1), three = run(3);
  set_num_threads(threads);
  for (std::size_t i = 0; i < one.size(); ++i)
    CHECK(sum(equal(one[i], three[i])).item() == static_cast<double>(one[i].numel()));
}

TEST_CASE("operands of different or unsuitable dtypes are refused") {
  CHECK_THROWS_WITH(add(ones({2}), ones({2}, DType::float64)), "add: dtypes float32 and float64 differ");
  CHECK_THROWS_AS(div(ones({2}, DType::int32), ones({2}, DType::int32)), std::invalid_argument);
  CHECK_THROWS_AS(relu(Tensor{}), std::invalid_argument);
}

TEST_CASE("what leaves the integers is refused for them") {
  const Tensor x = arange(3, DType::int32);
  using Unary = Tensor (*)(const Tensor&);
  const std::pair<const char*, Unary> operations[] = {
      {"sqrt", sqrt}, {"exp", exp}, {"log", log}, {"sigmoid", sigmoid}, {"tanh", tanh}};
  for (const auto& [name, op] : operations) {
    CHECK_THROWS_WITH(op(x), std::string(name) + ": dtype int32, expected float32 or float64");
    CHECK_THROWS_WITH(op(Tensor()), std::string(name) + ": undefined tensor");
    CHECK_NOTHROW(op(x.to(DType::float64)));
  }
  CHECK_THROWS_WITH(div(x, x), "div: dtype int32, expected float32 or float64");
  CHECK_THROWS_WITH(div(Tensor(), Tensor()), "div: undefined tensor");
  CHECK(sum(abs(neg(x))).item() == 3);
}
