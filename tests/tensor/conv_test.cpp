#include "tensor/conv.h"

#include <algorithm>
#include <cmath>

#include "tensor/conv_pool.h"
#include "tensor/factory.h"
#include "tensor/kernels/conv.h"
#include "tensor/parallel.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"
#include "tests/support/guarded_buffer.h"

using namespace nibble;

namespace {

Tensor random(const Shape& shape, Rng& rng) { return uniform(shape, -1, 1, rng); }

void check_against_float64(const Shape& x_shape, const Shape& w_shape, const ConvOptions& o, Rng& rng) {
  INFO("x " << x_shape << " w " << w_shape << " stride " << o.stride << " padding " << o.padding
            << " dilation " << o.dilation << " groups " << o.groups);
  const Tensor x = random(x_shape, rng), w = random(w_shape, rng), b = random({w_shape[0]}, rng);
  const Tensor y = conv2d(x, w, b, o);
  const Tensor x64 = x.to(DType::float64), w64 = w.to(DType::float64);
  CHECK(test::relative_error(y, conv2d(x64, w64, b.to(DType::float64), o), 1) < 1e-5);
  const Tensor g = random(y.shape(), rng), g64 = g.to(DType::float64);
  CHECK(test::relative_error(conv2d_backward_input(g, w, x_shape, o),
                             conv2d_backward_input(g64, w64, x_shape, o), 1) < 1e-5);
  CHECK(test::relative_error(conv2d_backward_weight(g, x, w_shape, o),
                             conv2d_backward_weight(g64, x64, w_shape, o), 1) < 1e-5);
}

}  // namespace

TEST_CASE("conv2d agrees with the float64 reference, forward and backward") {
  Rng rng(1);
  for (int i = 0; i < 120; ++i) {
    const auto pick = [&](std::initializer_list<std::int64_t> values) {
      return values.begin()[rng.below(values.size())];
    };
    ConvOptions o;
    o.groups = pick({1, 1, 1, 2, 3});
    o.stride = {pick({1, 1, 1, 2, 3}), pick({1, 1, 2})};
    o.dilation = {pick({1, 1, 2}), pick({1, 1, 3})};
    o.padding = {pick({0, 1, 2, 4}), pick({0, 1, 3})};
    const Shape w_shape{pick({1, 2, 3, 5, 8, 9}) * o.groups, pick({1, 2, 4}), pick({1, 2, 3, 5}),
                        pick({1, 3, 4})};
    const Shape x_shape{pick({0, 1, 2, 7, 8, 15, 16, 17, 33, 67}), w_shape[1] * o.groups, pick({1, 2, 5, 9}),
                        pick({1, 3, 8, 14})};
    if (x_shape[2] + 2 * o.padding.h < o.dilation.h * (w_shape[2] - 1) + 1 ||
        x_shape[3] + 2 * o.padding.w < o.dilation.w * (w_shape[3] - 1) + 1)
      continue;
    check_against_float64(x_shape, w_shape, o, rng);
  }
}

// Codes of 8 bits by codes of 8 bits: every partial sum is a whole number below 2^24.
TEST_CASE("conv2d adds up whole numbers exactly") {
  Rng rng(5);
  const auto codes = [&](const Shape& shape, double low, double high) {
    Tensor x = uniform(shape, low, high, rng);
    for (float& value : x.mutable_values<float>()) value = std::floor(value);
    return x;
  };
  for (const std::int64_t images : {3, 16, 40}) {
    const Tensor x = codes({images, 8, 14, 15}, 0, 256), w = codes({16, 8, 3, 3}, -127, 128);
    const Tensor exact = conv2d(x.to(DType::float64), w.to(DType::float64), {}, {.padding = 1});
    CHECK(test::same_elements(conv2d(x, w, {}, {.padding = 1}).to(DType::float64), exact));
    const Tensor pooled = conv2d_max_pool2d(x, w, {}, {.padding = 1}, 2, {}).values;
    CHECK(test::same_elements(pooled.to(DType::float64), max_pool2d(exact, 2).values));
  }
}

TEST_CASE("conv2d from or to one channel, depthwise") {
  Rng rng(3);
  for (std::int64_t window : {3, 5})
    for (std::int64_t width : {1, 3, 4, 5, 11})
      for (std::int64_t images : {8, 15, 16, 31, 48, 67})
        for (std::int64_t channels : {1, 3}) {
          const ConvOptions o{1, {1, window / 2}, {2, 1}, 1};
          const Shape x{images, channels, 5, width};
          check_against_float64(x, {1, channels, 2, window}, o, rng);
          check_against_float64({images, 1, 5, width}, {channels, 1, 2, window}, o, rng);
          check_against_float64(x, {channels, 1, 3, window}, {1, {0, window}, 1, channels}, rng);
        }
}

// Alone of one image, in buffers that end at a page without access.
TEST_CASE("weight gradients of one image: reads and writes end with the operands", "[tiers]") {
  Rng rng(3);
  for (const Isa isa : supported_isas())
    for (const std::ptrdiff_t k : {1, 7, 8, 9, 16, 17, 33})
      for (const std::ptrdiff_t c : {1, 3, 4, 5}) {
        INFO(name_of(isa) << ", " << c << " to " << k << " channels");
        const DirectConv conv{{.c = c,
                               .h = 4,
                               .w = 5,
                               .k = k,
                               .oh = 4,
                               .ow = 5,
                               .r = 3,
                               .s = 3,
                               .stride_h = 1,
                               .stride_w = 1,
                               .padding_h = 1,
                               .padding_w = 1,
                               .dilation_h = 1,
                               .dilation_w = 1},
                              1,
                              20,
                              5,
                              1,
                              1,
                              5 * k,
                              k};
        const std::ptrdiff_t padded = (k + kConvLanes - 1) / kConvLanes * kConvLanes;
        test::GuardedBuffer<float> x(static_cast<std::size_t>(c * 20)),
            grad(static_cast<std::size_t>(k * 20)), sums(static_cast<std::size_t>(9 * c * padded));
        for (float& value : x) value = static_cast<float>(rng.uniform() - 0.5);
        for (float& value : grad) value = static_cast<float>(rng.uniform() - 0.5);
        std::fill(sums.begin(), sums.end(), 1.0f);
        conv_kernels(isa).backward_weight_image(conv, x.data(), grad.data(), sums.data());
        double worst = 0;
        for (std::ptrdiff_t i = 0; i < 9 * c * k; ++i) {
          const std::ptrdiff_t j = i % k, s = i / k % 3, ch = i / k / 3 % c, r = i / k / 3 / c;
          double expected = 1;
          for (std::ptrdiff_t row = 0; row < 4; ++row)
            for (std::ptrdiff_t column = 0; column < 5; ++column) {
              const std::ptrdiff_t h = row + r - 1, w = column + s - 1;
              if (h < 0 || h >= 4 || w < 0 || w >= 5) continue;
              expected += double{x[static_cast<std::size_t>(ch * 20 + h * 5 + w)]} *
                          double{grad[static_cast<std::size_t>((row * 5 + column) * k + j)]};
            }
          const float found = sums[static_cast<std::size_t>(((r * c + ch) * 3 + s) * padded + j)];
          worst = std::max(worst, std::abs(double{found} - expected));
        }
        CHECK(worst < 1e-5);
      }
}

TEST_CASE("conv2d from or to no channels at all") {
  Rng rng(4);
  for (const DType dtype : {DType::float32, DType::float64})
    for (const std::int64_t images : {0, 1, 8, 17}) {
      INFO(dtype << ", " << images << " images");
      const ConvOptions o{.padding = 1};
      const Shape x_shape{images, 0, 5, 4}, w_shape{3, 0, 3, 3}, y_shape{images, 3, 5, 4};
      const Tensor x = zeros(x_shape, dtype), w = zeros(w_shape, dtype), b = random({3}, rng).to(dtype);
      const Tensor g = random(y_shape, rng).to(dtype);
      CHECK(test::same_elements(conv2d(x, w, {}, o), zeros(y_shape)));
      CHECK(test::same_elements(conv2d(x, w, b, o), b.reshape({3, 1, 1}).broadcast_to(y_shape)));
      CHECK(conv2d_backward_input(g, w, x_shape, o).shape() == x_shape);
      CHECK(conv2d_backward_weight(g, x, w_shape, o).shape() == w_shape);
      // The other way round: 3 channels to none.
      const Shape to_none{0, 3, 3, 3};
      CHECK(conv2d(g, zeros(to_none, dtype), {}, o).shape() == x_shape);
      CHECK(test::same_elements(conv2d_backward_input(x, zeros(to_none, dtype), y_shape, o), zeros(y_shape)));
      CHECK(conv2d_backward_weight(x, g, to_none, o).shape() == to_none);
    }
}

TEST_CASE("conv2d: same bits for any number of threads") {
  Rng rng(2);
  const Tensor x = random({33, 8, 14, 14}, rng), w = random({16, 8, 3, 3}, rng),
               g = random({33, 16, 14, 14}, rng);
  const int before = num_threads();
  std::vector<Tensor> results;
  for (int threads : {1, 2, 3}) {
    set_num_threads(threads);
    results.push_back(conv2d(x, w, {}, {.padding = 1}));
    results.push_back(conv2d_backward_input(g, w, x.shape(), {.padding = 1}));
    results.push_back(conv2d_backward_weight(g, x, w.shape(), {.padding = 1}));
  }
  set_num_threads(before);
  for (std::size_t i = 3; i < results.size(); ++i) CHECK(test::same_elements(results[i], results[i % 3]));
}

TEST_CASE("conv2d: what does not fit is named") {
  CHECK_THROWS_WITH(conv2d(zeros({1, 1, 5, 5}), zeros({2, 3, 3, 3})),
                    "conv2d: weight has 3 input channels, input has 1");
  CHECK_THROWS_WITH(conv2d(zeros({1, 1, 2, 2}), zeros({1, 1, 3, 3})), Catch::Contains("window 3x3"));
  CHECK_THROWS(conv2d(zeros({1, 1, 2, 2}), zeros({1, 1, 1, 1}, DType::float64)));
  CHECK_THROWS(conv2d(zeros({1, 1, 2, 2}), zeros({1, 1, 1, 1}), zeros({2})));
}
