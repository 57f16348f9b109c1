#include "tensor/matmul.h"

#include <cmath>

#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"
#include "tensor/reduce.h"
#include "tests/support/catch.h"

using namespace nibble;

namespace {

// Largest |a - b| in units of the bound k * eps * max|a| * max|b| on the error of one sum of k products.
double error(const Tensor& c, const Tensor& a, const Tensor& b) {
  const Tensor exact = matmul(a.to(DType::float64), b.to(DType::float64));
  const double bound =
      6e-8 * static_cast<double>(a.size(-1) + 1) * (1e-30 + abs_max(a).item() * abs_max(b).item());
  return abs_max(sub(c.to(DType::float64), exact)).item() / bound;
}

Tensor matrix(std::int64_t rows, std::int64_t cols, bool transposed, Rng& rng) {
  return transposed ? normal({cols, rows}, 0, 1, rng).transpose(0, 1) : normal({rows, cols}, 0, 1, rng);
}

}  // namespace

TEST_CASE("matmul in float64 is the plain sum of products") {
  const Tensor a = from_values<double>({2, 3}, {1, 2, 3, 4, 5, 6});
  const Tensor b = from_values<double>({3, 2}, {7, 8, 9, 10, 11, 12});
  const Tensor c = matmul(a, b);
  CHECK(c.values<double>()[0] == 58);
  CHECK(c.values<double>()[1] == 64);
  CHECK(c.values<double>()[2] == 139);
  CHECK(c.values<double>()[3] == 154);
}

TEST_CASE("matmul agrees with float64 for any strides and small sizes") {
  Rng rng(1);
  for (std::int64_t m : {1, 2, 5, 8, 13, 17})
    for (std::int64_t n : {1, 3, 10, 16, 17, 33})
      for (std::int64_t k : {1, 2, 7, 16, 17})
        for (int layout = 0; layout < 4; ++layout) {
          const Tensor a = matrix(m, k, layout & 1, rng), b = matrix(k, n, layout & 2, rng);
          INFO(m << 'x' << n << 'x' << k << " layout " << layout);
          REQUIRE(error(matmul(a, b), a, b) <= 1);
        }
}

TEST_CASE("matmul takes views without unit stride, empty sizes, and broadcasts leading dimensions") {
  Rng rng(2);
  const Tensor wide = normal({6, 5, 7, 2}, 0, 1, rng);
  const Tensor a = wide.select(3, 1).select(0, 2), b = wide.select(3, 0).select(0, 4).transpose(0, 1);
  CHECK(error(matmul(a, b), a, b) <= 1);
  CHECK(matmul(zeros({0, 3}), zeros({3, 2})).shape() == Shape{0, 2});
  const Tensor nothing = matmul(ones({2, 0}), ones({0, 3}));
  CHECK(nothing.shape() == Shape{2, 3});
  CHECK(abs_max(nothing).item() == 0);

  const Tensor x = normal({2, 1, 4, 3}, 0, 1, rng), y = normal({5, 3, 6}, 0, 1, rng);
  const Tensor z = matmul(x, y);
  REQUIRE(z.shape() == Shape{2, 5, 4, 6});
  for (int i = 0; i < 2; ++i)
    for (int j = 0; j < 5; ++j)
      CHECK(error(z.select(0, i).select(0, j), x.select(0, i).select(0, 0), y.select(0, j)) <= 1);
}

TEST_CASE("matmul gives the same bits for any number of threads") {
  Rng rng(3);
  const Tensor a = normal({130, 700}, 0, 1, rng), b = normal({700, 170}, 0, 1, rng);
  const int threads = num_threads();
  set_num_threads(1);
  const Tensor one = matmul(a, b);
  for (int t : {2, 3}) {
    set_num_threads(t);
    CHECK(sum(equal(matmul(a, b), one)).item() == 130 * 170);
  }
  set_num_threads(threads);
  const Tensor part = matmul(a.narrow(0, 37, 5), b.narrow(1, 91, 3));
  CHECK(sum(equal(part, one.narrow(0, 37, 5).narrow(1, 91, 3))).item() == 15);
}

TEST_CASE("linear keeps a batch-innermost layout and matches matmul") {
  Rng rng(4);
  const Tensor x = normal({784, 64}, 0, 1, rng).transpose(0, 1), w = normal({10, 784}, 0, 1, rng);
  const Tensor bias = normal({10}, 0, 1, rng);
  const Tensor y = linear(x, w, bias);
  CHECK(y.strides() == Strides{1, 64});
  CHECK(error(sub(y, bias), x, w.transpose(0, 1)) <= 2);
  CHECK(linear(x.contiguous(), w).is_contiguous());
  CHECK(linear(x.reshape({4, 16, 784}), w).shape() == Shape{4, 16, 10});

  const Tensor g = normal({10, 64}, 0, 1, rng).transpose(0, 1);
  const Tensor dx = linear_backward_input(g, w), dw = linear_backward_weight(g, x);
  CHECK(dx.strides() == Strides{1, 64});
  CHECK(error(dx, g, w) <= 1);
  CHECK(dw.is_contiguous());
  CHECK(error(dw, g.transpose(0, 1), x) <= 1);
  CHECK(linear_backward_weight(zeros({0, 10}), zeros({0, 7})).shape() == Shape{10, 7});
}

TEST_CASE("products that do not fit are refused with their shapes") {
  CHECK_THROWS_WITH(matmul(zeros({2, 3}), zeros({4, 5})), "matmul: inner sizes differ: [2, 3] x [4, 5]");
  CHECK_THROWS_AS(matmul(zeros({2}), zeros({2, 2})), std::invalid_argument);
  CHECK_THROWS_AS(matmul(zeros({2, 2}), zeros({2, 2}, DType::float64)), std::invalid_argument);
  CHECK_THROWS_AS(matmul(zeros({2, 2}, DType::int32), zeros({2, 2}, DType::int32)), std::invalid_argument);
  CHECK_THROWS_AS(matmul(zeros({2, 2, 3}), zeros({3, 3, 2})), std::invalid_argument);
  CHECK_THROWS_AS(linear(zeros({2, 3}), zeros({4, 2})), std::invalid_argument);
  CHECK_THROWS_AS(linear(zeros({2, 3}), zeros({4, 3}), zeros({3})), std::invalid_argument);
}
