#include "quant/fake_quant.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/ops_elementwise.h"
#include "quant/kernels/fake_quant.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"
#include "tensor/reduce.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"
#include "tests/support/guarded_buffer.h"

#define NIBBLE_TIER reference
#include "quant/kernels/fake_quant_formulas.h"

using namespace nibble;
using namespace nibble::quant;

namespace {

// Random values, exact halves of the scale, and what lies outside the range or the numbers.
Tensor awkward(std::int64_t n, float scale, Rng& rng) {
  Tensor x = uniform({n}, -20 * scale, 20 * scale, rng);
  const float special[] = {0.0f,
                           -0.0f,
                           0.5f * scale,
                           1.5f * scale,
                           -2.5f * scale,
                           1e30f,
                           -1e30f,
                           std::numeric_limits<float>::infinity(),
                           std::numeric_limits<float>::quiet_NaN()};
  for (std::int64_t i = 0; i < n; i += 3) x.mutable_data<float>()[i] = special[rng.below(std::size(special))];
  return x;
}

bool same_bits(double a, double b) {
  return (std::isnan(a) && std::isnan(b)) || (a == b && std::signbit(a) == std::signbit(b));
}

}  // namespace

TEST_CASE("fake quantization has the same bits on every tier", "[tiers]") {
  Rng rng(9);
  for (std::int64_t n : {0, 1, 3, 4, 7, 8, 9, 15, 16, 17, 48, 130, 1000}) {
    for (int bits : {1, 2, 4, 8, 16}) {
      for (int flags = 0; flags < 4; ++flags) {
        const float scale = std::ldexp(0.75f, -bits);
        const IntegerRange range = integer_range(bits, bits > 1 && rng.below(2), false);
        const FakeQuantParams p{.scale = scale,
                                .zero_point = static_cast<float>(rng.below(2)),
                                .lo = static_cast<float>(range.lo),
                                .hi = static_cast<float>(range.hi),
                                .clamp_passes = flags == 1,
                                .relu = flags >= 2};
        const Tensor x = awkward(n, scale, rng), g = uniform({n}, -1, 1, rng);
        const quant::reference::FakeQuantFormulas<float> formulas(p);
        double scale_sum = 0, outside = 0, magnitude = 1;
        std::vector<float> y(static_cast<std::size_t>(n)), grad_x(y);
        for (std::size_t i = 0; i < y.size(); ++i) {
          y[i] = formulas.forward(x.data<float>()[i]);
          const auto gradients = formulas.backward(x.data<float>()[i], g.data<float>()[i]);
          grad_x[i] = gradients.x;
          scale_sum += double{gradients.scale};
          magnitude += std::abs(double{gradients.scale});
          outside += double{gradients.outside};
        }
        std::vector<FakeQuantSums> sums;
        for (Isa isa : supported_isas()) {
          INFO(name_of(isa) << ", " << n << " elements, " << bits << " bits, flags " << flags);
          test::GuardedBuffer<float> in(y.size()), upstream(y.size()), out(y.size()), grad(y.size());
          std::copy_n(x.data<float>(), n, in.begin());
          std::copy_n(g.data<float>(), n, upstream.begin());
          fake_quant_kernels(isa).forward(in.data(), out.data(), y.size(), p);
          sums.push_back(
              fake_quant_kernels(isa).backward(in.data(), upstream.data(), grad.data(), y.size(), p));
          CHECK(std::equal(out.begin(), out.end(), y.begin(), same_bits));
          CHECK(std::equal(grad.begin(), grad.end(), grad_x.begin(), same_bits));
          CHECK(same_bits(sums.back().scale, sums.front().scale));
          CHECK(same_bits(sums.back().zero_point, sums.front().zero_point));
        }
        if (std::isfinite(scale_sum)) CHECK(std::abs(sums[0].scale - scale_sum) <= 1e-6 * magnitude);
        CHECK(std::abs(sums[0].zero_point + double{p.scale} * outside) <= 1e-6 * static_cast<double>(n + 1));
      }
    }
  }
}

TEST_CASE("fused with ReLU it is the quantization of relu(x)") {
  Rng rng(5);
  const Tensor x = uniform({9000}, -2, 2, rng), g = uniform({9000}, -1, 1, rng);
  std::vector<Tensor> results;
  for (const bool fused : {true, false}) {
    Variable v(x, true), scale(scalar(0.1), true);
    const Variable y = fake_quantize(fused ? v : relu(v), scale, {}, {.range = {0, 15}, .relu = fused});
    y.backward(g);
    for (const Tensor& t : {y.value(), v.grad(), scale.grad()}) results.push_back(t);
  }
  for (std::size_t i = 0; i < 3; ++i) CHECK(test::same_elements(results[i], results[i + 3]));
}

TEST_CASE("quantization is monotone, idempotent and within half a step inside the range") {
  Rng rng(3);
  for (int bits : {2, 3, 4, 8}) {
    for (bool is_signed : {false, true}) {
      const IntegerRange range = integer_range(bits, is_signed, false);
      const double scale = 0.37;
      const auto q = [&](const Tensor& x) {
        return fake_quantize(Variable(x), Variable(scalar(scale)), {}, {.range = range}).value();
      };
      const Tensor x = (arange(2001, DType::float32) - 1000) * 0.05;
      const Tensor y = q(x);
      CHECK(test::same_elements(q(y), y));
      const auto values = y.values<float>();
      for (std::size_t i = 0; i < values.size(); ++i) {
        if (i > 0) CHECK(values[i] >= values[i - 1]);
        const float original = x.data<float>()[i];
        if (original >= range.lo * scale && original <= range.hi * scale)
          CHECK(std::abs(values[i] - original) <= scale / 2 * 1.000001);
      }
    }
  }
}

TEST_CASE("fake_quantize: any layout and any number of threads give the same elements and gradients") {
  Rng rng(4);
  const Tensor x = uniform({33, 8, 14, 14}, -3, 3, rng), g = uniform(x.shape(), -1, 1, rng);
  Tensor inner = empty({8, 14, 14, 33}).permute({3, 0, 1, 2});
  inner.copy_from(x);
  const int before = num_threads();
  std::vector<Tensor> values, grads;
  std::vector<double> scales;
  for (const auto& [input, threads] :
       {std::pair{x, 1}, std::pair{x, 2}, std::pair{inner, 1}, std::pair{inner, 2}}) {
    set_num_threads(threads);
    Variable v(input, true), scale(scalar(0.3), true);
    const Variable y = fake_quantize(v, scale, {}, {.range = {-8, 7}});
    CHECK(y.value().strides() == input.strides());
    y.backward(g);
    values.push_back(y.value());
    grads.push_back(v.grad());
    scales.push_back(scale.grad().item());
  }
  set_num_threads(before);
  for (std::size_t i = 1; i < values.size(); ++i) {
    CHECK(test::same_elements(values[i], values[0]));
    CHECK(test::same_elements(grads[i], grads[0]));
  }
  CHECK(scales[0] == scales[1]);
  CHECK(scales[2] == scales[3]);
  CHECK(scales[0] == Approx(scales[2]).margin(1e-2));
}

TEST_CASE("fake_quantize: what does not fit is named") {
  CHECK_THROWS_WITH(fake_quantize(Variable(zeros({3, 2})), Variable(ones({2})), {}, {.range = {-8, 7}}),
                    Catch::Contains("one per channel"));
  CHECK_THROWS(
      fake_quantize(Variable(zeros({3}, DType::float64)), Variable(ones({})), {}, {.range = {-8, 7}}));
}
