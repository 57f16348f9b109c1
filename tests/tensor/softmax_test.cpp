#include "tensor/softmax.h"

#include <cmath>
#include <limits>

#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/reduce.h"
#include "tests/support/catch.h"

using namespace nibble;

namespace {

double difference(const Tensor& a, const Tensor& b) {
  return abs_max(sub(a.to(DType::float64), b.to(DType::float64))).item();
}

}  // namespace

TEST_CASE("softmax and log_softmax follow their definition, whatever the layout") {
  Rng rng(1);
  for (std::int64_t rows : {1, 3, 16, 64, 70})
    for (std::int64_t n : {1, 2, 10, 16, 17, 100}) {
      const Tensor plain = normal({rows, n}, 0, 3, rng, DType::float64).to(DType::float32);
      const Tensor wide = plain.to(DType::float64);
      const Tensor e = exp(wide);
      const Tensor expected = div(e, sum(e, {1}, true));
      const Tensor grad = normal({rows, n}, 0, 1, rng);
      const Tensor g = grad.to(DType::float64);
      const Tensor expected_grad = mul(expected, sub(g, sum(mul(g, expected), {1}, true)));
      const Tensor expected_log_grad = sub(g, mul(expected, sum(g, {1}, true)));
      for (const Tensor& x : {plain, plain.transpose(0, 1).contiguous().transpose(0, 1)}) {
        INFO(rows << 'x' << n << " strides " << x.strides());
        const Tensor y = softmax(x, 1), l = log_softmax(x, -1);
        CHECK(difference(y, expected) < 1e-6);
        CHECK(difference(l, log(expected)) < 4e-6);
        CHECK(difference(softmax_backward(grad, y, 1), expected_grad) < 2e-5);
        CHECK(difference(log_softmax_backward(grad, l, 1), expected_log_grad) < 2e-5);
        CHECK(difference(softmax(wide, 1), expected) < 1e-14);
      }
    }
}

TEST_CASE("softmax works along any dimension of any view") {
  Rng rng(2);
  const Tensor block = normal({4, 5, 6, 3}, 0, 1, rng);
  for (int dim = 0; dim < 4; ++dim) {
    const Tensor view = block.narrow(dim, 1, 2).permute({2, 0, 3, 1});
    for (int d = 0; d < 4; ++d) {
      const Tensor y = softmax(view, d);
      CHECK(difference(y, softmax(view.to(DType::float64), d)) < 1e-6);
      CHECK(difference(softmax_backward(view, y, d),
                       softmax_backward(view.to(DType::float64), y.to(DType::float64), d)) < 1e-6);
    }
  }
  CHECK(softmax(zeros({0, 3}), 1).shape() == Shape{0, 3});
  CHECK(softmax(zeros({3, 0}), 1).shape() == Shape{3, 0});
  CHECK(softmax(ones({7}), 0).values<float>()[3] == Approx(1.0 / 7));
}

TEST_CASE("large inputs neither overflow nor lose the smallest probability") {
  const Tensor x = from_values<float>({1, 3}, {1000, 999, -1000});
  const Tensor y = softmax(x, 1), l = log_softmax(x, 1);
  CHECK(y.values<float>()[0] == Approx(0.7310586));
  CHECK(y.values<float>()[2] == 0);
  CHECK(l.values<float>()[2] == Approx(-2000.3133));
}

TEST_CASE("a NaN spoils its own line only") {
  Tensor x = zeros({3, 20});
  x.mutable_values<float>()[23] = std::numeric_limits<float>::quiet_NaN();
  const auto check = [](const Tensor& y) {
    CHECK(y.select(0, 0).select(0, 3).item() == Approx(0.05));
    CHECK(std::isnan(y.select(0, 1).select(0, 0).item()));
    CHECK(y.select(0, 2).select(0, 19).item() == Approx(0.05));
  };
  check(softmax(x, 1));
  check(softmax(x.transpose(0, 1).contiguous().transpose(0, 1), 1));
}

TEST_CASE("softmax refuses integers and dimensions that are not there") {
  CHECK_THROWS_AS(softmax(zeros({2, 2}, DType::int32), 1), std::invalid_argument);
  CHECK_THROWS_AS(softmax(zeros({2, 2}), 2), std::invalid_argument);
  CHECK_THROWS_AS(softmax_backward(zeros({2, 2}), zeros({2, 3}), 1), std::invalid_argument);
}
