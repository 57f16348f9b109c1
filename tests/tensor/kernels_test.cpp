// Elementwise, reduction and softmax kernels on every tier against the scalar formulas, at the lengths and
// offsets where vector code goes wrong, in buffers that end at a page without access.

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "tensor/kernels/elementwise.h"
#include "tensor/kernels/gemm.h"
#include "tensor/kernels/reduce.h"
#include "tensor/kernels/reference.h"
#include "tensor/kernels/softmax.h"
#include "tests/support/catch.h"
#include "tests/support/guarded_buffer.h"

#define NIBBLE_TIER reference
#include "tensor/kernels/elementwise_ops.h"

using namespace nibble;
using nibble::test::GuardedBuffer;

namespace {

std::vector<std::size_t> lengths(Isa isa) {
  const std::size_t n = gemm_kernels(isa).lanes;
  return {0, 1, 3, n - 1, n, n + 1, 3 * n, 8 * n + 2};
}

constexpr std::size_t kOffsets[] = {0, 1, 3};
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Every special value comes at every lane before long.
float sample(std::size_t i, bool positive) {
  static constexpr float kSpecial[] = {0.0f,      -0.0f,      1.0f,  -1.0f,  0.5f,  2.5f,
                                       -1.5f,     1e-30f,     88.0f, -87.0f, 3.7f,  kNan,
                                       kInfinity, -kInfinity, 1e30f, 0.1f,   -20.0f};
  const float value = kSpecial[(i * 7 + i / 17) % 17];
  return positive ? std::abs(value) : value;
}

// Equal, both NaN, or within `ulps` roundings.
bool close(float value, double expected, double ulps) {
  if (std::isnan(expected)) return std::isnan(value);
  const float rounded = static_cast<float>(expected);
  if (value == rounded) return true;
  return std::abs(static_cast<double>(value) - expected) <= ulps * 1.2e-7 * std::abs(expected) + 1e-37;
}

template <class Op>
void check_unary(Isa isa, const char* name, ElementwiseKernels::Unary kernel, double ulps,
                 bool positive = false) {
  for (std::size_t n : lengths(isa))
    for (std::size_t offset : kOffsets) {
      GuardedBuffer<float> x(n + offset), out(n + offset);
      for (std::size_t i = 0; i < n + offset; ++i) x[i] = sample(i + n, positive), out[i] = 77;
      kernel(x.data() + offset, out.data() + offset, n);
      INFO(name_of(isa) << ' ' << name << " n " << n << " offset " << offset);
      for (std::size_t i = 0; i < offset; ++i) REQUIRE(out[i] == 77);
      for (std::size_t i = offset; i < n + offset; ++i) {
        INFO("x " << x[i] << " gives " << out[i]);
        REQUIRE(close(out[i], Op{}(static_cast<double>(x[i])), ulps));
      }
      kernel(x.data() + offset, x.data() + offset, n);  // in place
      for (std::size_t i = offset; i < n + offset; ++i) REQUIRE(close(x[i], static_cast<double>(out[i]), 0));
    }
}

template <class Op>
void check_binary(Isa isa, const char* name, ElementwiseKernels::Binary kernel) {
  for (std::size_t n : lengths(isa))
    for (std::size_t offset : kOffsets)
      for (std::size_t steps = 0; steps < 4; ++steps) {
        const std::size_t a_step = steps & 1, b_step = steps >> 1;
        GuardedBuffer<float> a(a_step ? n + offset : 1 + offset), b(b_step ? n + offset : 1 + offset),
            out(n + offset);
        for (std::size_t i = 0; i < a.size(); ++i) a[i] = sample(i, false);
        for (std::size_t i = 0; i < b.size(); ++i) b[i] = sample(3 * i + n, false);
        for (float& each : out) each = 77;
        kernel(a.data() + offset, a_step, b.data() + offset, b_step, out.data() + offset, n);
        INFO(name_of(isa) << ' ' << name << " n " << n << " offset " << offset << " steps " << a_step
                          << b_step);
        for (std::size_t i = 0; i < offset; ++i) REQUIRE(out[i] == 77);
        for (std::size_t i = 0; i < n; ++i) {
          const float x = a[offset + i * a_step], y = b[offset + i * b_step];
          INFO("a " << x << " b " << y << " gives " << out[offset + i]);
          REQUIRE(close(out[offset + i], static_cast<double>(Op{}(x, y)), 0));
        }
      }
}

}  // namespace

TEST_CASE("elementwise kernels follow their formulas on every tier", "[tiers]") {
  for (Isa isa : supported_isas()) {
    const ElementwiseKernels& k = elementwise_kernels(isa);
    check_binary<reference::Add>(isa, "add", k.add);
    check_binary<reference::Sub>(isa, "sub", k.sub);
    check_binary<reference::Mul>(isa, "mul", k.mul);
    check_binary<reference::Div>(isa, "div", k.div);
    check_binary<reference::Maximum>(isa, "maximum", k.maximum);
    check_binary<reference::Minimum>(isa, "minimum", k.minimum);
    check_binary<reference::Greater>(isa, "greater", k.greater);
    check_binary<reference::GreaterEqual>(isa, "greater_equal", k.greater_equal);
    check_binary<reference::Equal>(isa, "equal", k.equal);
    check_binary<reference::ReluBackward>(isa, "relu_backward", k.relu_backward);
    check_unary<reference::Neg>(isa, "neg", k.neg, 0);
    check_unary<reference::Abs>(isa, "abs", k.abs, 0);
    check_unary<reference::Sign>(isa, "sign", k.sign, 0);
    check_unary<reference::Sqrt>(isa, "sqrt", k.sqrt, 0, true);
    check_unary<reference::Relu>(isa, "relu", k.relu, 0);
    check_unary<reference::Round>(isa, "round", k.round, 0);
    check_unary<reference::Exp>(isa, "exp", k.exp, 2);
    check_unary<reference::Log>(isa, "log", k.log, 2, true);
    check_unary<reference::Sigmoid>(isa, "sigmoid", k.sigmoid, 3);
    check_unary<reference::Tanh>(isa, "tanh", k.tanh, 3);
  }
}

TEST_CASE("reduction kernels agree with the scalar fold on every tier", "[tiers]") {
  std::mt19937 rng(1);
  std::uniform_real_distribution<float> value(-1, 1);
  for (Isa isa : supported_isas())
    for (std::size_t n : lengths(isa))
      for (std::size_t offset : kOffsets) {
        INFO(name_of(isa) << " n " << n << " offset " << offset);
        GuardedBuffer<float> x(n + offset);
        for (float& each : x) each = value(rng);
        for (std::size_t i = 0; i < offset; ++i) x[i] = 1e6f;  // outside: must not count
        float* const p = x.data() + offset;
        const ReduceKernels& k = reduce_kernels(isa);
        const double expected = reference::sum<float, double>(p, 1, static_cast<std::int64_t>(n));
        CHECK(std::abs(static_cast<double>(k.sum(p, n)) - expected) <= 1e-7 * static_cast<double>(n + 1));
        if (n == 0) continue;
        CHECK(k.max(p, n) == *std::max_element(p, p + n));
        CHECK(k.min(p, n) == *std::min_element(p, p + n));
        CHECK(k.abs_max(p, n) == std::max(-*std::min_element(p, p + n), *std::max_element(p, p + n)));
        for (std::size_t at = 0; at < n; ++at) {
          const float old = p[at];
          p[at] = 5;
          REQUIRE(k.max(p, n) == 5);
          p[at] = -5;
          REQUIRE(k.min(p, n) == -5);
          REQUIRE(k.abs_max(p, n) == 5);
          p[at] = kNan;
          REQUIRE(std::isnan(k.max(p, n)));
          REQUIRE(std::isnan(k.min(p, n)));
          REQUIRE(std::isnan(k.abs_max(p, n)));
          p[at] = old;
        }
      }
}

TEST_CASE("softmax kernels agree with the float64 reference on every tier", "[tiers]") {
  std::mt19937 rng(1);
  std::normal_distribution<float> value(0, 3);
  using Line = std::vector<double>;
  for (Isa isa : supported_isas())
    for (std::size_t n : lengths(isa)) {
      if (n == 0) continue;
      for (std::size_t lines : lengths(isa)) {
        INFO(name_of(isa) << " n " << n << " lines " << lines);
        const std::size_t gap = lines % 2, step = lines + gap;
        const std::size_t size = lines == 0 ? 0 : (n - 1) * step + lines;
        GuardedBuffer<float> x(size), g(size), y(size), d(size), ly(size), ld(size);
        for (float& each : x) each = value(rng);
        for (float& each : g) each = value(rng);
        for (GuardedBuffer<float>* out : {&y, &d, &ly, &ld}) std::fill(out->begin(), out->end(), 77.0f);
        const SoftmaxKernels& k = softmax_kernels(isa);
        k.softmax.across(x.data(), y.data(), step, lines, n);
        k.log_softmax.across(x.data(), ly.data(), step, lines, n);
        k.softmax_backward.across(g.data(), y.data(), d.data(), step, lines, n);
        k.log_softmax_backward.across(g.data(), ly.data(), ld.data(), step, lines, n);
        if (gap == 1 && lines > 0 && n > 1)
          for (GuardedBuffer<float>* out : {&y, &d, &ly, &ld}) REQUIRE((*out)[lines] == 77);
        for (std::size_t j = 0; j < lines; ++j) {
          GuardedBuffer<float> lx(n), lg(n), a(n), b(n), c(n), e(n);
          Line wx(n), wg(n), wy(n), wl(n), wd(n), wld(n);
          for (std::size_t i = 0; i < n; ++i) {
            lx[i] = x[i * step + j], lg[i] = g[i * step + j];
            wx[i] = static_cast<double>(lx[i]), wg[i] = static_cast<double>(lg[i]);
          }
          k.softmax.along(lx.data(), a.data(), n);
          k.log_softmax.along(lx.data(), b.data(), n);
          k.softmax_backward.along(lg.data(), a.data(), c.data(), n);
          k.log_softmax_backward.along(lg.data(), b.data(), e.data(), n);
          const std::int64_t count = static_cast<std::int64_t>(n);
          reference::softmax(wx.data(), 1, wy.data(), 1, count);
          reference::log_softmax(wx.data(), 1, wl.data(), 1, count);
          reference::softmax_backward(wg.data(), 1, wy.data(), 1, wd.data(), 1, count);
          reference::log_softmax_backward(wg.data(), 1, wl.data(), 1, wld.data(), 1, count);
          double worst = 0;
          const auto compare = [&](float along, float across, double expected, double scale) {
            worst = std::max(worst, std::abs(static_cast<double>(along) - expected) / scale);
            worst = std::max(worst, std::abs(static_cast<double>(across) - expected) / scale);
          };
          for (std::size_t i = 0; i < n; ++i) {
            compare(a[i], y[i * step + j], wy[i], 1);
            compare(b[i], ly[i * step + j], wl[i], 10);  // values up to about 20
            compare(c[i], d[i * step + j], wd[i], 10);
            compare(e[i], ld[i * step + j], wld[i], 10 + 10 * std::sqrt(static_cast<double>(n)));
          }
          REQUIRE(worst < 1e-6);
        }
      }
    }
}
