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

TEST_CASE("max_pool2d: a window whose taps all lie in the padding chooses nothing") {
  for (const bool relu : {false, true})
    for (const std::int64_t images : {1, 8, 17}) {
      const PoolOptions o{.padding = {0, 1}, .dilation = {1, 2}, .relu = relu};
      const Tensor x = full({images, 1, 1, 1}, 3);
      const auto result = max_pool2d(x, {1, 2}, o), expected = max_pool2d(x.to(DType::float64), {1, 2}, o);
      CHECK(test::same_elements(result.indices, full({images, 1, 1, 1}, -1)));
      CHECK(test::same_elements(result.indices, expected.indices));
      CHECK(test::same_elements(result.values, expected.values));
      CHECK(result.values.select(0, 0).item() == (relu ? 0 : -std::numeric_limits<double>::infinity()));
      CHECK(test::same_elements(
          max_pool2d_backward(ones(result.values.shape()), result.indices, x.shape(), {1, 2}, o),
          zeros(x.shape())));
    }
}

TEST_CASE("max_pool2d_backward: gradient and indices may lie in any order, with gaps or without") {
  Rng rng(5);
  // The same elements with dimension order[3] innermost, in a block one element larger each way.
  const auto laid_out = [](const Tensor& x, const Shape& order, bool gaps) {
    Shape sizes = order, back = order;
    for (int i = 0; i < 4; ++i) {
      sizes[i] = x.shape()[static_cast<int>(order[i])] + (gaps ? 1 : 0);
      back[static_cast<int>(order[i])] = i;
    }
    Tensor view = zeros(sizes, x.dtype()).permute(back);
    for (int i = 0; i < 4; ++i) view = view.narrow(i, 0, x.shape()[i]);
    view.copy_from(x);
    return view;
  };
  const std::vector<Shape> orders{{0, 1, 2, 3}, {1, 2, 3, 0}, {3, 1, 2, 0}, {0, 2, 3, 1}, {2, 0, 3, 1}};
  for (const Shape& shape : {Shape{17, 5, 6, 8}, Shape{8, 1, 2, 2}, Shape{1, 4, 4, 6}}) {
    const Tensor x = uniform(shape, -1, 1, rng);
    const auto result = max_pool2d(x, 2);
    const Tensor grad = uniform(result.values.shape(), -1, 1, rng);
    const Tensor expected = max_pool2d_backward(grad.to(DType::float64), result.indices, shape, 2);
    for (const Shape& grad_order : orders)
      for (const Shape& index_order : orders)
        for (const int gaps : {0, 1, 2, 3}) {
          INFO(shape << " gradient in order " << grad_order << ", indices in " << index_order << ", gaps "
                     << gaps);
          CHECK(test::same_elements(
              max_pool2d_backward(laid_out(grad, grad_order, (gaps & 1) != 0),
                                  laid_out(result.indices, index_order, (gaps & 2) != 0), shape, 2),
              expected));
        }
  }
}

TEST_CASE("pooling: what does not fit is named") {
  CHECK_THROWS_WITH(
      max_pool2d_backward(zeros({1, 1, 2, 2}), zeros({1, 1, 2, 1}, DType::int32), {1, 1, 4, 4}, 2),
      "max_pool2d_backward: indices have shape [1, 1, 2, 1], expected [1, 1, 2, 2]");
  CHECK_THROWS_WITH(
      max_pool2d_backward(zeros({1, 1, 2, 1}), zeros({1, 1, 2, 2}, DType::int32), {1, 1, 4, 4}, 2),
      "max_pool2d_backward: gradient has shape [1, 1, 2, 1], expected [1, 1, 2, 2]");
  CHECK_THROWS_WITH(max_pool2d(zeros({1, 1, 2, 2}), 3), Catch::Contains("window 3x3"));
  CHECK_THROWS_WITH(max_pool2d(zeros({1, 1, 4, 4}), 2, {.padding = 2}), Catch::Contains("padding 2x2"));
  CHECK_THROWS(avg_pool2d(zeros({1, 4, 4}), 2));
}
