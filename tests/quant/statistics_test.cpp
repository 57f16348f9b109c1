#include "quant/statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "autograd/ops_elementwise.h"
#include "quant/kernels/order_keys.h"
#include "quant/quickselect.h"
#include "quant/scale.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"
#include "tensor/reduce.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;
using namespace nibble::quant;

TEST_CASE("percentiles are order statistics, and one element takes the gradient") {
  Rng rng(8);
  for (std::int64_t n : {1, 2, 7, 100, 5000, 70000}) {
    const Tensor x = uniform({n}, -1, 0.5, rng);
    std::vector<float> magnitudes, sorted(x.values<float>().begin(), x.values<float>().end());
    for (float v : sorted) magnitudes.push_back(std::fabs(v));
    std::sort(sorted.begin(), sorted.end());
    std::sort(magnitudes.begin(), magnitudes.end());
    for (double q : {99.999, 99.9, 99.0, 50.0, 0.0, 100.0}) {
      INFO(n << " elements, " << q);
      const auto k = std::clamp<std::int64_t>(
          static_cast<std::int64_t>(std::floor(0.01 * q * static_cast<double>(n) + 0.5)), 1, n);
      Variable v(x, true);
      const Variable stat = abs_percentile(v, q);
      CHECK(stat.value().item() == magnitudes[static_cast<std::size_t>(k - 1)]);
      stat.backward(scalar(2));
      CHECK(sum(abs(v.grad())).item() == 2);
      CHECK(sum(mul(v.grad(), x)).item() == Approx(2 * stat.value().item()));
      CHECK(high_percentile(v, q).value().item() == sorted[static_cast<std::size_t>(k - 1)]);
      const auto low = std::clamp<std::int64_t>(
          static_cast<std::int64_t>(std::ceil(0.01 * q * static_cast<double>(n))), 1, n);
      CHECK(low_percentile_or_zero(v, q).value().item() ==
            std::min(0.0f, sorted[static_cast<std::size_t>(low - 1)]));
    }
  }
  CHECK_THROWS_WITH(abs_percentile(Variable(zeros({0})), 99), Catch::Contains("no elements"));
}

TEST_CASE("percentiles of max(x, 0) are those of relu(x), ties and gradients included") {
  Rng rng(9);
  // Multiples of 1/4: ties everywhere.
  const Tensor x = round(uniform({5, 7, 11, 13}, -8, 8, rng)) * 0.25;
  for (double q : {99.999, 99.0, 60.0, 20.0}) {
    Variable plain(x, true), fused(x, true);
    const Variable expected = abs_percentile(relu(plain), q), stat = abs_percentile(fused, q, true);
    CHECK(stat.value().item() == expected.value().item());
    expected.backward();
    stat.backward();
    CHECK(test::same_elements(fused.grad(), plain.grad()));
  }
}

TEST_CASE("of two equal elements the one that quickselect picks takes the gradient, wherever they stand") {
  Rng rng(11);
  constexpr std::int64_t kElements = 20000;
  for (int trial = 0; trial < 40; ++trial) {
    Tensor x = uniform({kElements}, 0, 1, rng);
    const auto values = x.mutable_values<float>();
    for (const float large : {4.0f, 3.0f, 2.0f, 2.0f}) values[rng.below(kElements)] = large;
    Quickselect selection(kElements);
    order_key_kernels().keys(OrderBy::value, values.data(), kElements, selection.keys().data());
    Variable v(x, true);
    const Variable third = high_percentile(v, 99.99);
    third.backward();
    CHECK(v.grad().data<float>()[selection.index_of_smallest(kElements - 3)] == 1);
  }
}

TEST_CASE("NaN counts as the largest value, however many there are") {
  const float nan = std::nanf("");
  Tensor x = arange(3000, DType::float32);
  for (std::int64_t i = 0; i < 3000; i += 10) x.mutable_data<float>()[i] = nan;
  CHECK(std::isnan(abs_percentile(Variable(x, true), 99.999).value().item()));
  CHECK(high_percentile(Variable(x, true), 50).value().item() == 1666);
  CHECK(low_percentile_or_zero(Variable(x, true), 0.001).value().item() == 0);
}

TEST_CASE("abs_max: the gradient goes to the largest magnitude, in equal parts where there are several") {
  const auto gradient_of = [](const Tensor& x) {
    Variable v(x, true);
    abs_max(v).backward(scalar(6));
    return v.grad();
  };
  const auto matrix = [](const std::vector<float>& values) { return from_values({2, 3}, values); };
  CHECK(test::same_elements(gradient_of(matrix({1, -5, 3, 4, 0, 2})), matrix({0, -6, 0, 0, 0, 0})));
  CHECK(test::same_elements(gradient_of(matrix({5, -5, 3, 5, 0, 2})), matrix({2, -2, 0, 2, 0, 0})));
  CHECK(test::same_elements(gradient_of(zeros({3})), zeros({3})));
  CHECK(test::same_elements(gradient_of(matrix({1, 2, 9, 4, 5, 6}).permute({1, 0})),
                            matrix({0, 0, 6, 0, 0, 0}).permute({1, 0})));
  const Tensor of_nan = gradient_of(matrix({1, std::nanf(""), 2, 3, 4, 5}));
  for (const float g : of_nan.values<float>()) CHECK(std::isnan(g));
}
