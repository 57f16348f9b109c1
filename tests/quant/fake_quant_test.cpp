#include "quant/fake_quant.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "autograd/no_grad.h"
#include "autograd/ops_elementwise.h"
#include "quant/kernels/fake_quant.h"
#include "quant/kernels/quant_pool.h"
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
          const FakeQuantSums alone =
              fake_quant_kernels(isa).backward(in.data(), upstream.data(), nullptr, y.size(), p);
          CHECK(same_bits(alone.scale, sums.back().scale));
        }
        if (std::isfinite(scale_sum)) CHECK(std::abs(sums[0].scale - scale_sum) <= 1e-6 * magnitude);
        CHECK(std::abs(sums[0].zero_point + double{p.scale} * outside) <= 1e-6 * static_cast<double>(n + 1));
      }
    }
  }
}

TEST_CASE("pooling of fake quantized planes has the same bits on every tier, and those of a scalar reference",
          "[tiers]") {
  Rng rng(12);
  constexpr std::ptrdiff_t kPlanes = 2;
  for (int i = 0; i < 60; ++i) {
    const auto up_to = [&](std::ptrdiff_t least, std::uint64_t more) {
      return least + static_cast<std::ptrdiff_t>(rng.below(more + 1));
    };
    QuantPool p{};
    p.images = 16 * up_to(1, 3);
    p.h = up_to(4, 5), p.w = up_to(4, 5);
    p.r = up_to(1, 2), p.s = up_to(1, 2);
    if (i % 2) p.r = p.s = 2;
    p.stride_h = p.r + up_to(0, 1), p.stride_w = p.s + up_to(0, 1);
    p.oh = (p.h - p.r) / p.stride_h + 1, p.ow = (p.w - p.s) / p.stride_w + 1;
    const bool is_signed = rng.below(2) != 0;
    const IntegerRange range = integer_range(2 + static_cast<int>(rng.below(4)), is_signed, false);
    const FakeQuantParams params{.scale = 0.3f,
                                 .zero_point = is_signed ? 0.0f : static_cast<float>(rng.below(3)),
                                 .lo = static_cast<float>(range.lo),
                                 .hi = static_cast<float>(range.hi),
                                 .clamp_passes = false,
                                 .relu = rng.below(2) != 0};
    REQUIRE(is_regular(params));
    const std::ptrdiff_t x_step = p.h * p.w * p.images, y_step = p.oh * p.ow * p.images;
    const Tensor x = awkward(kPlanes * x_step, params.scale, rng),
                 g = uniform({kPlanes * y_step}, -1, 1, rng);

    const quant::reference::FakeQuantFormulas<float> formulas(params);
    std::vector<float> y(static_cast<std::size_t>(kPlanes * y_step)),
        grad_x(static_cast<std::size_t>(kPlanes * x_step));
    double scale_sum = 0, outside = 0;
    for (std::ptrdiff_t out = 0; out < kPlanes * y_step; ++out) {
      const std::ptrdiff_t plane = out / y_step, row = out % y_step / p.images / p.ow,
                           column = out / p.images % p.ow;
      std::ptrdiff_t chosen = -1;
      float best = 0;
      for (std::ptrdiff_t r = 0; r < p.r; ++r)
        for (std::ptrdiff_t s = 0; s < p.s; ++s) {
          const std::ptrdiff_t at = plane * x_step +
                                    ((row * p.stride_h + r) * p.w + column * p.stride_w + s) * p.images +
                                    out % p.images;
          const float value = formulas.forward(x.data<float>()[at]);
          if (chosen < 0 || value > best || std::isnan(value)) chosen = at, best = value;
        }
      const auto gradients = formulas.backward(x.data<float>()[chosen], g.data<float>()[out]);
      y[static_cast<std::size_t>(out)] = best;
      grad_x[static_cast<std::size_t>(chosen)] = gradients.x;
      scale_sum += double{gradients.scale};
      outside += double{gradients.outside};
    }

    std::vector<FakeQuantSums> sums;
    for (Isa isa : supported_isas()) {
      INFO(name_of(isa) << ", case " << i);
      test::GuardedBuffer<float> in(grad_x.size()), upstream(y.size()), out(y.size()), slope(y.size()),
          source(y.size()), grad(grad_x.size());
      std::copy_n(x.data<float>(), x.numel(), in.begin());
      std::copy_n(g.data<float>(), g.numel(), upstream.begin());
      for (std::ptrdiff_t plane = 0; plane < kPlanes; ++plane)
        quant_pool_kernels(isa).forward(p, in.data() + plane * x_step, out.data() + plane * y_step,
                                        slope.data() + plane * y_step, source.data() + plane * y_step,
                                        params);
      FakeQuantSums sum{};
      for (std::ptrdiff_t row = 0; row < kPlanes * p.oh; ++row) {
        const std::ptrdiff_t at = row * p.ow * p.images;
        const FakeQuantSums part = quant_pool_kernels(isa).backward(
            p, row % p.oh, upstream.data() + at, slope.data() + at, source.data() + at,
            grad.data() + row / p.oh * x_step, params.scale);
        sum.scale += part.scale;
        sum.zero_point += part.zero_point;
      }
      sums.push_back(sum);
      CHECK(std::equal(out.begin(), out.end(), y.begin(), same_bits));
      CHECK(std::equal(grad.begin(), grad.end(), grad_x.begin(), same_bits));
      CHECK(same_bits(sum.scale, sums[0].scale));
      CHECK(same_bits(sum.zero_point, sums[0].zero_point));
    }
    if (std::isfinite(scale_sum)) CHECK(sums[0].scale == Approx(scale_sum).margin(1e-3));
    CHECK(sums[0].zero_point == Approx(-double{params.scale} * outside).margin(1e-3));
  }
}

TEST_CASE("fake quantization divides without a division to the same bits", "[tiers]") {
  Rng rng(14);
  QuantPool p{};
  p.images = 1 << 12;
  p.h = p.w = p.oh = p.ow = p.r = p.s = p.stride_h = p.stride_w = 1;
  const std::size_t n = static_cast<std::size_t>(p.images);
  std::vector<float> x(n), y(n), slope(n), source(n);
  for (int i = 0; i < 100; ++i) {
    const auto mantissa = [&] { return 1 + static_cast<float>(rng.below(1 << 23)) * 0x1p-23f; };
    const float scale = std::ldexp(i < 10 ? 2 - 0x1p-23f : mantissa(), static_cast<int>(rng.below(119)) - 60);
    const FakeQuantParams params{
        .scale = scale, .zero_point = 0, .lo = -32768, .hi = 32767, .clamp_passes = false, .relu = false};
    REQUIRE(is_regular(params));
    for (float& v : x) {
      v = mantissa() * scale * std::ldexp(rng.below(2) ? 1.0f : -1.0f, static_cast<int>(rng.below(20)) - 4);
      if (rng.below(50) == 0) v = std::ldexp(v, -static_cast<int>(rng.below(120)));
      if (rng.below(50) == 0) v = (static_cast<float>(rng.below(100)) + 0.5f) * scale;
    }
    const quant::reference::FakeQuantFormulas<float> formulas(params);
    for (Isa isa : supported_isas()) {
      INFO(name_of(isa) << ", scale " << scale);
      quant_pool_kernels(isa).forward(p, x.data(), y.data(), slope.data(), source.data(), params);
      std::size_t wrong = 0;
      for (std::size_t k = 0; k < n; ++k)
        wrong += y[k] != formulas.forward(x[k]) || slope[k] != formulas.backward(x[k], 1).scale;
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE("pooling tells numbers on either side of a boundary between codes apart", "[tiers]") {
  Rng rng(15);
  QuantPool p{};
  p.images = 1 << 10;
  p.h = p.w = p.r = p.s = p.stride_h = p.stride_w = 2;
  p.oh = p.ow = 1;
  const auto n = static_cast<std::size_t>(p.images);
  std::vector<float> x(4 * n), y(n), slope(n), source(n);
  for (int i = 0; i < 200; ++i) {
    const int bits = 1 + i % 8;
    const float lo = i % 3 == 0 ? -std::ldexp(1.0f, bits - 1) : 0.0f, hi = lo + std::ldexp(1.0f, bits) - 1;
    const FakeQuantParams params{.scale = std::ldexp(1 + static_cast<float>(rng.below(1 << 23)) * 0x1p-23f,
                                                     static_cast<int>(rng.below(40)) - 20),
                                 .zero_point = lo + static_cast<float>(rng.below(std::size_t{1} << bits)),
                                 .lo = lo,
                                 .hi = hi,
                                 .clamp_passes = false,
                                 .relu = rng.below(2) == 0};
    for (float& v : x) {
      const float code = lo - 2 + static_cast<float>(rng.below((std::size_t{1} << bits) + 4));
      v = (code - params.zero_point - (rng.below(4) == 0 ? 0.0f : 0.5f)) * params.scale;
      for (std::uint64_t steps = rng.below(4); steps > 0; --steps)
        v = std::nextafter(v, rng.below(2) == 0 ? -HUGE_VALF : HUGE_VALF);
    }
    const quant::reference::FakeQuantFormulas<float> formulas(params);
    for (Isa isa : supported_isas()) {
      quant_pool_kernels(isa).forward(p, x.data(), y.data(), slope.data(), source.data(), params);
      std::size_t wrong = 0;
      for (std::size_t k = 0; k < n; ++k) {
        std::size_t chosen = 0;
        for (std::size_t at = 1; at < 4; ++at)
          if (formulas.levels_of(x[at * n + k]).level > formulas.levels_of(x[chosen * n + k]).level)
            chosen = at;
        const auto gradients = formulas.backward(x[chosen * n + k], 1);
        wrong += y[k] != formulas.forward(x[chosen * n + k]) || slope[k] != gradients.scale ||
                 source[k] != static_cast<float>(chosen + 1) * (gradients.x - gradients.outside);
      }
      INFO(name_of(isa) << ", case " << i << ", scale " << params.scale);
      CHECK(wrong == 0);
    }
  }
}

TEST_CASE(
    "fake_quantize_max_pool2d: the bits of pooling after quantization, sums of gradients but for rounding") {
  Rng rng(13);
  const int before = num_threads();
  for (int i = 0; i < 200; ++i) {
    const auto pick = [&](std::initializer_list<std::int64_t> values) {
      return values.begin()[rng.below(values.size())];
    };
    const Size2 kernel(pick({1, 2, 2, 3}), pick({1, 2, 2, 3}));
    PoolOptions o;
    if (i % 4 == 1) o.stride = {pick({1, 2, 3, 4}), pick({1, 2, 3, 4})};
    if (i % 8 == 3) o.padding = {kernel.h / 2, kernel.w / 2};
    o.ceil_mode = i % 8 == 5;
    const std::int64_t n = pick({1, 16, 20, 32, 64}), c = pick({1, 3, 16}), h = pick({6, 9}),
                       w = pick({5, 14});
    Tensor x =
        i % 3 == 0 ? empty({n, h, w, c}).permute({0, 3, 1, 2}) : empty({c, h, w, n}).permute({3, 0, 1, 2});
    x.copy_from(i % 5 == 0 ? awkward(x.numel(), 0.25f, rng).reshape(x.shape())
                           : uniform(x.shape(), -3, 3, rng));
    // A NaN that no window chooses is multiplied by the gradient 0 in two passes, and nobody sees it in one.
    Tensor in_order = x.permute(i % 3 == 0 ? Shape{0, 2, 3, 1} : Shape{1, 2, 3, 0});
    for (float& value : in_order.mutable_values<float>())
      if (std::isnan(value)) value = -std::numeric_limits<float>::infinity();
    const bool shifted = rng.below(2) != 0;
    const FakeQuantOptions options{.range = shifted ? IntegerRange{0, 15} : IntegerRange{-8, 7},
                                   .relu = rng.below(2) != 0};
    const double factor = i % 10 == 9 ? -0.25 : pick({1, 2}) * 0.25;
    INFO("case " << i << ": " << x.shape() << " kernel " << kernel << " stride " << o.stride);
    std::vector<Tensor> results;
    for (const auto& [fused, threads] : {std::pair{false, 1}, std::pair{true, 1}, std::pair{true, 2}}) {
      set_num_threads(threads);
      Variable v(x, true), scale(scalar(factor), true), zero_point;
      if (shifted) zero_point = Variable(scalar(4), true);
      const Variable y = fused ? fake_quantize_max_pool2d(v, scale, zero_point, options, kernel, o)
                               : max_pool2d(fake_quantize(v, scale, zero_point, options), kernel, o);
      Rng same(i);
      y.backward(uniform(y.shape(), -1, 1, same));
      for (const Tensor& t : {y.value(), v.grad(), scale.grad(), shifted ? zero_point.grad() : scalar(0)})
        results.push_back(t);
    }
    for (std::size_t k = 4; k < results.size(); ++k) {
      // In one pass the sums run over windows, in two over elements.
      const bool is_sum = k % 4 >= 2;
      if (is_sum && k < 8 && std::isfinite(results[k % 4].item()))
        CHECK(std::abs(results[k].item() - results[k % 4].item()) <=
              1e-6 * 15 * static_cast<double>(results[0].numel()));
      else
        CHECK(test::same_elements(results[k], results[is_sum && k >= 8 ? k - 4 : k % 4]));
      CHECK(results[k].strides() == results[k % 4].strides());
    }
    const NoGrad no_grad;
    CHECK(test::same_elements(
        fake_quantize_max_pool2d(Variable(x), Variable(scalar(factor)), {}, options, kernel, o).value(),
        max_pool2d(fake_quantize(Variable(x), Variable(scalar(factor)), {}, options), kernel, o).value()));
  }
  set_num_threads(before);
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
