#include "tensor/kernels/winograd.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tensor/kernels/conv.h"
#include "tensor/kernels/conv_reference.h"
#include "tensor/random.h"
#include "tests/support/catch.h"
#include "tests/support/guarded_buffer.h"

using namespace nibble;

namespace {

using Index = std::ptrdiff_t;

DirectConv random_conv(Rng& rng) {
  const auto pick = [&](std::initializer_list<Index> values) {
    return values.begin()[rng.below(values.size())];
  };
  DirectConv p{};
  p.r = pick({1, 2, 3, 3});
  p.s = 3;
  p.stride_w = p.dilation_w = 1;
  p.stride_h = pick({1, 1, 2});
  p.dilation_h = pick({1, 1, 2});
  p.padding_h = pick({0, 1, 1, 3});
  p.padding_w = pick({0, 1, 1, 2, 4});
  p.h = pick({5, 6, 9});
  p.w = pick({3, 4, 5, 6, 8, 13});
  p.c = pick({1, 2, 3, 4, 5, 8});
  p.k = pick({1, 2, 3, 4, 5, 6, 7, 8, 13});
  p.images = pick({1, 8, 15, 16, 17, 33, 64});
  p.oh = (p.h + 2 * p.padding_h - p.dilation_h * (p.r - 1) - 1) / p.stride_h + 1;
  p.ow = p.w + 2 * p.padding_w - 2;
  p.x_w = p.y_w = p.images;
  p.x_h = p.w * p.x_w;
  p.x_c = p.h * p.x_h;
  p.y_h = p.ow * p.y_w;
  p.y_k = p.oh * p.y_h;
  return p;
}

// Calls f(x, y, weight) with the offsets of every product, weights in the order [r][c][k][s].
template <class F>
void for_each_product(const DirectConv& p, F f) {
  const reference::ConvGeometry g{
      p, {1, p.x_c, p.x_h, p.x_w}, {1, p.y_k, p.y_h, p.y_w}, {3, p.k * 3, p.c * p.k * 3, 1}};
  for (Index image = 0; image < p.images; ++image)
    for (Index k = 0; k < p.k; ++k)
      reference::for_each_product(g, image, k, [&](Index x, Index y, Index weight) {
        f(static_cast<std::size_t>(x), static_cast<std::size_t>(y), static_cast<std::size_t>(weight));
      });
}

struct Operand : test::GuardedBuffer<float> {
  Operand(Index size, bool guard_front, Rng& rng)
      : GuardedBuffer(static_cast<std::size_t>(size), guard_front) {
    for (float& value : *this) value = static_cast<float>(rng.uniform() - 0.5);
  }
};

// The largest difference from `expected`, relative to the sums of the products' absolute values.
template <class Found>
double worst_error(const Found& found, const std::vector<double>& expected, const std::vector<double>& size) {
  double worst = 0;
  for (std::size_t i = 0; i < expected.size(); ++i)
    worst = std::max(worst, std::abs(double{found[i]} - expected[i]) / std::max(size[i], 1.0));
  return worst;
}

}  // namespace

// In buffers beside pages without access, in front or behind.
TEST_CASE("Winograd's products agree with direct ones in float64, reads and writes end with the operands",
          "[tiers]") {
  for (const Isa isa : supported_isas()) {
    const WinogradKernels& kernels = winograd_kernels(isa);
    if (kernels.convolve == nullptr) continue;
    Rng rng(7);
    for (int i = 0; i < 150; ++i) {
      const DirectConv p = random_conv(rng);
      INFO(name_of(isa) << ", " << p.c << " to " << p.k << " channels, " << p.images << " images of " << p.h
                        << "x" << p.w << ", window " << p.r << "x3, stride " << p.stride_h << ", dilation "
                        << p.dilation_h << ", padding " << p.padding_h << "x" << p.padding_w);
      const bool front = i % 2 == 1;
      Operand x(p.c * p.x_c, front, rng), y(p.k * p.y_k, front, rng), grad(p.k * p.y_k, front, rng);
      Operand weight(p.r * p.c * p.k * 3, front, rng), packed(p.r * p.c * p.k * 4, front, rng);
      for (std::size_t j = 0; j < weight.size() / 3; ++j) {
        const auto row = winograd_weight(weight[j * 3], weight[j * 3 + 1], weight[j * 3 + 2]);
        std::copy(row.begin(), row.end(), packed.begin() + j * 4);
      }
      std::vector<double> y64(y.size()), y_size(y.size()), w64(weight.size()), w_size(weight.size());
      for_each_product(p, [&](std::size_t from, std::size_t at, std::size_t w) {
        const double forward = double{x[from]} * double{weight[w]}, back = double{x[from]} * double{grad[at]};
        y64[at] += forward;
        y_size[at] += std::abs(forward);
        w64[w] += back;
        w_size[w] += std::abs(back);
      });

      for (Index row = 0; row < p.oh; ++row) kernels.convolve(p, x.data(), packed.data(), y.data(), row);
      CHECK(worst_error(y, y64, y_size) < 2e-6);

      // The rows in two parts, on top of sums that were there.
      test::GuardedBuffer<float> sums(packed.size() * static_cast<std::size_t>(kConvLanes), front);
      std::fill(sums.begin(), sums.end(), 0.0f);
      const Index part = p.oh / 3;
      kernels.backward_weight(p, x.data(), grad.data(), sums.data(), 0, part);
      kernels.backward_weight(p, x.data(), grad.data(), sums.data(), part, p.oh);
      std::vector<float> reduced(packed.size()), taps(weight.size());
      conv_kernels(isa).reduce_sums(sums.data(), reduced.data(), static_cast<Index>(reduced.size()));
      for (std::size_t j = 0; j < taps.size(); ++j) {
        const float* const m = &reduced[j / 3 * 4];
        taps[j] = winograd_tap({m[0], m[1], m[2], m[3]}, static_cast<Index>(j % 3));
      }
      CHECK(worst_error(taps, w64, w_size) < 2e-6);
    }
  }
}
