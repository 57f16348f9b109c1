#include "quant/statistics.h"

#include <algorithm>
#include <cmath>

#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"
#include "tensor/reduce.h"
#include "tests/support/catch.h"

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
