#include "tensor/conv_pool.h"

#include "tensor/factory.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"
#include "tests/support/threads.h"

using namespace nibble;

namespace {

Tensor random(const Shape& shape, Rng& rng) { return uniform(shape, -1, 1, rng); }

struct Case {
  Shape x, weight;
  ConvOptions conv;
  Size2 kernel;
  PoolOptions pool;
};

// Of windows that can be pooled row by row, with rows and columns that no window covers, and others.
Case random_case(Rng& rng) {
  const auto pick = [&](std::initializer_list<std::int64_t> values) {
    return values.begin()[rng.below(values.size())];
  };
  Case c;
  c.conv.groups = pick({1, 1, 2});
  c.conv.stride = {pick({1, 1, 2}), pick({1, 1, 2})};
  c.conv.padding = {pick({0, 1, 2}), pick({0, 1})};
  c.conv.dilation = pick({1, 1, 2});
  c.weight = {pick({1, 2, 5, 8}) * c.conv.groups, pick({1, 2, 3}), pick({1, 3}), pick({1, 3})};
  c.x = {pick({1, 7, 8, 17, 64, 80}), c.weight[1] * c.conv.groups, pick({7, 8, 13}), pick({7, 10, 15})};
  c.kernel = {pick({1, 2, 2, 3}), pick({1, 2, 2, 3})};
  c.pool.relu = pick({0, 1}) != 0;
  c.pool.ceil_mode = pick({0, 0, 1}) != 0;
  if (pick({0, 0, 0, 1}) != 0) c.pool.stride = 1;
  if (pick({0, 0, 0, 1}) != 0) c.pool.padding = {c.kernel.h / 2, c.kernel.w / 2};
  return c;
}

bool fits(const Case& c) {
  const auto enough = [](std::int64_t size, std::int64_t padding, std::int64_t dilation, std::int64_t taps,
                         std::int64_t stride, std::int64_t window) {
    const std::int64_t room = size + 2 * padding - dilation * (taps - 1) - 1;
    return room >= 0 && room / stride + 1 >= window;
  };
  return enough(c.x[2], c.conv.padding.h, c.conv.dilation.h, c.weight[2], c.conv.stride.h, c.kernel.h) &&
         enough(c.x[3], c.conv.padding.w, c.conv.dilation.w, c.weight[3], c.conv.stride.w, c.kernel.w);
}

}  // namespace

TEST_CASE("conv2d_max_pool2d is max_pool2d of conv2d") {
  Rng rng(11);
  int cases = 0;
  while (cases < 150) {
    const Case c = random_case(rng);
    if (!fits(c)) continue;
    ++cases;
    const Tensor x = random(c.x, rng), w = random(c.weight, rng);
    const Tensor b = rng.below(4) == 0 ? Tensor() : random({c.weight[0]}, rng);
    INFO("x " << c.x << " w " << c.weight << " stride " << c.conv.stride << " padding " << c.conv.padding
              << " dilation " << c.conv.dilation << " groups " << c.conv.groups << " pooling " << c.kernel
              << " stride " << c.pool.stride << " padding " << c.pool.padding << " relu " << c.pool.relu
              << " ceil " << c.pool.ceil_mode);
    const Tensor y = conv2d(x, w, b, c.conv);
    const MaxPoolResult expected = max_pool2d(y, c.kernel, c.pool);
    const MaxPoolResult found = conv2d_max_pool2d(x, w, b, c.conv, c.kernel, c.pool);
    CHECK(test::same_elements(found.values, expected.values));
    CHECK(test::same_elements(found.indices, expected.indices));

    const Tensor g = random(expected.values.shape(), rng);
    const Tensor through_pool = max_pool2d_backward(g, expected.indices, y.shape(), c.kernel, c.pool);
    const ConvParameterGrads grads =
        conv2d_max_pool2d_backward_parameters(g, found.indices, x, c.weight, c.conv, c.kernel, c.pool);
    const Tensor g64 = through_pool.to(DType::float64), x64 = x.to(DType::float64);
    CHECK(test::relative_error(grads.weight, conv2d_backward_weight(g64, x64, c.weight, c.conv), 1) < 1e-5);
    CHECK(test::relative_error(grads.bias, conv2d_backward_bias(g64), 1) < 1e-5);
  }
}

TEST_CASE("conv2d_max_pool2d of a batch that takes several bands") {
  Rng rng(12);
  const Tensor x = random({203, 3, 40, 30}, rng), w = random({16, 3, 3, 3}, rng), b = random({16}, rng);
  const ConvOptions conv{.padding = 1};
  const Tensor y = conv2d(x, w, b, conv);
  const MaxPoolResult expected = max_pool2d(y, 2, {.relu = true});
  const MaxPoolResult found = conv2d_max_pool2d(x, w, b, conv, 2, {.relu = true});
  CHECK(test::same_elements(found.values, expected.values));
  CHECK(test::same_elements(found.indices, expected.indices));
  const Tensor g = random(expected.values.shape(), rng);
  const Tensor through_pool = max_pool2d_backward(g, expected.indices, y.shape(), 2);
  const ConvParameterGrads grads =
      conv2d_max_pool2d_backward_parameters(g, found.indices, x, w.shape(), conv, 2, {.relu = true});
  CHECK(test::relative_error(grads.weight, conv2d_backward_weight(through_pool, x, w.shape(), conv), 1) <
        1e-4);
  CHECK(test::relative_error(grads.bias, conv2d_backward_bias(through_pool), 1) < 1e-4);
}

TEST_CASE("conv2d_max_pool2d: same bits for any number of threads") {
  Rng rng(13);
  const Tensor x = random({70, 1, 28, 28}, rng), w = random({8, 1, 3, 3}, rng), b = random({8}, rng);
  const Tensor g = random({70, 8, 14, 14}, rng);
  std::vector<MaxPoolResult> results;
  std::vector<ConvParameterGrads> grads;
  for (const int threads : {1, 2, 3}) {
    const test::Threads scope(threads);
    results.push_back(conv2d_max_pool2d(x, w, b, {.padding = 1}, 2, {.relu = true}));
    grads.push_back(conv2d_max_pool2d_backward_parameters(g, results[0].indices, x, w.shape(), {.padding = 1},
                                                          2, {.relu = true}));
  }
  for (std::size_t i = 1; i < results.size(); ++i) {
    CHECK(test::same_elements(results[i].values, results[0].values));
    CHECK(test::same_elements(results[i].indices, results[0].indices));
    CHECK(test::same_elements(grads[i].weight, grads[0].weight));
    CHECK(test::same_elements(grads[i].bias, grads[0].bias));
  }
}

TEST_CASE("conv2d_max_pool2d: NaN wins, and what does not fit is named") {
  Tensor x = zeros({8, 1, 4, 4});
  x.mutable_data<float>()[5] = __builtin_nanf("");
  const Tensor w = ones({1, 1, 1, 1});
  const MaxPoolResult pooled = conv2d_max_pool2d(x, w, {}, {}, 2, {.relu = true});
  CHECK(pooled.values.contiguous().data<float>()[0] != pooled.values.contiguous().data<float>()[0]);
  CHECK(pooled.indices.contiguous().data<std::int32_t>()[0] == 5);
  CHECK_THROWS_WITH(conv2d_max_pool2d(x, zeros({2, 3, 3, 3}), {}, {}, 2, {}),
                    "conv2d: weight has 3 input channels, input has 1");
  CHECK_THROWS_WITH(conv2d_max_pool2d(x, w, zeros({2}), {}, 2, {}), Catch::Contains("bias has shape"));
  CHECK_THROWS_WITH(conv2d_max_pool2d(x, w, {}, {}, 5, {}), Catch::Contains("window 5x5"));
  const Tensor wrong = zeros({8, 1, 3, 2});
  CHECK_THROWS_WITH(
      conv2d_max_pool2d_backward_parameters(wrong, wrong.to(DType::int32), x, w.shape(), {}, 2, {}),
      Catch::Contains("gradient has shape"));
}
