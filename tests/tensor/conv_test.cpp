#include "tensor/conv.h"

#include "tensor/factory.h"
#include "tensor/parallel.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

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
