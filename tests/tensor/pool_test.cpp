#include "tensor/pool.h"

#include <limits>

#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;

TEST_CASE("max_pool2d: both layouts and both dtypes choose the same elements") {
  Rng rng(3);
  for (int i = 0; i < 150; ++i) {
    const auto pick = [&](std::initializer_list<std::int64_t> values) {
      return values.begin()[rng.below(values.size())];
    };
    const Size2 kernel(pick({1, 2, 3}), pick({1, 2, 3}));
    PoolOptions o;
    o.stride = {pick({1, 2, 3}), pick({1, 2, 3})};
    o.padding = {pick({0, 1}) * (kernel.h / 2), pick({0, 1}) * (kernel.w / 2)};
    o.dilation = {pick({1, 1, 2}), pick({1, 1, 2})};
    o.ceil_mode = rng.below(2) != 0;
    const Shape shape{pick({1, 4, 15, 16, 17, 40}), pick({1, 3}), pick({5, 6, 9}), pick({5, 8})};
    // Few distinct values, so that ties are common.
    Tensor x = empty(shape);
    for (float& value : x.mutable_values<float>()) value = static_cast<float>(rng.below(4));
    const Tensor inner = empty({shape[1], shape[2], shape[3], shape[0]}).permute({3, 0, 1, 2});
    Tensor chwn = inner;
    chwn.copy_from(x);
    INFO(shape << " kernel " << kernel << " stride " << o.stride << " padding " << o.padding);
    const auto expected = max_pool2d(x.to(DType::float64), kernel, o);
    const auto actual = max_pool2d(chwn, kernel, o);
    CHECK(test::same_elements(actual.values, expected.values));
    CHECK(test::same_elements(actual.indices, expected.indices));
    Tensor grad = uniform(actual.values.shape(), -1, 1, rng);
    const Tensor g64 = max_pool2d_backward(grad.to(DType::float64), expected.indices, shape, kernel, o);
    CHECK(test::relative_error(max_pool2d_backward(grad, actual.indices, shape, kernel, o), g64, 1) < 1e-6);
  }
}

TEST_CASE("max_pool2d with relu: values and gradients of pooling after relu") {
  Rng rng(4);
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const std::int64_t n : {1, 4, 17, 40, 64})
    for (const DType dtype : {DType::float32, DType::float64})
      for (const PoolOptions& o : {PoolOptions{}, PoolOptions{.stride = 1}, PoolOptions{.padding = 1}}) {
        Tensor x = empty({3, 6, 7, n}).permute({3, 0, 1, 2});
        for (std::int64_t i = 0; i < x.numel(); ++i)
          x.mutable_data<float>()[i] = rng.below(50) == 0 ? nan : static_cast<float>(rng.below(5)) - 3;
        x = x.to(dtype);
        PoolOptions with_relu = o;
        with_relu.relu = true;
        const auto expected = max_pool2d(relu(x), 2, o), actual = max_pool2d(x, 2, with_relu);
        CHECK(test::same_elements(actual.values, expected.values));
        const Tensor grad = uniform(actual.values.shape(), -1, 1, rng).to(dtype);
        // Where it is 0, the gradient of relu makes up for the choice among zeros.
        CHECK(test::same_elements(
            max_pool2d_backward(grad, actual.indices, x.shape(), 2, with_relu),
            relu_backward(max_pool2d_backward(grad, expected.indices, x.shape(), 2, o), relu(x))));
      }
}

TEST_CASE("max_pool2d: NaN wins, minus infinity is a value like any other") {
  const float nan = std::numeric_limits<float>::quiet_NaN(), low = -std::numeric_limits<float>::infinity();
  for (std::int64_t images : {1, 16}) {
    const Tensor x = from_values<float>({1, 1, 1, 8}, {1, nan, low, low, nan, 1, nan, nan})
                         .broadcast_to({images, 1, 1, 8});
    Tensor chwn = empty({1, 1, 8, images}).permute({3, 0, 1, 2});
    chwn.copy_from(x);
    const auto result = max_pool2d(chwn, {1, 2});
    const auto value = [&](int i) { return result.values.select(3, i).select(0, 0).item(); };
    const auto index = [&](int i) { return result.indices.select(3, i).select(0, 0).item(); };
    CHECK(std::isnan(value(0)));
    CHECK(index(0) == 1);
    CHECK(value(1) == low);
    CHECK(index(1) == 2);
    CHECK(std::isnan(value(2)));
    CHECK(index(2) == 4);
    CHECK(std::isnan(value(3)));
    CHECK(index(3) == 7);  // the last one, as in PyTorch
  }
}

TEST_CASE("pooling: what does not fit is named") {
  CHECK_THROWS_WITH(max_pool2d(zeros({1, 1, 2, 2}), 3), Catch::Contains("window 3x3"));
  CHECK_THROWS_WITH(max_pool2d(zeros({1, 1, 4, 4}), 2, {.padding = 2}), Catch::Contains("padding 2x2"));
  CHECK_THROWS(avg_pool2d(zeros({1, 4, 4}), 2));
}
