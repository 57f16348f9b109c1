#include "quant/quantize.h"

#include <cmath>
#include <limits>

#include "quant/fake_quant.h"
#include "quant/qgemm.h"
#include "tensor/factory.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;
using namespace nibble::quant;

TEST_CASE("dequantize of quantize is what a quantized layer trains with, bit by bit") {
  Rng rng(5);
  const Tensor x = normal({3, 70, 401}, 0.2, 2, rng);
  for (const QuantizeParams& p :
       {QuantizeParams{0.37f, 0, -8, 7}, {0.02f, 0, -128, 127}, {0.013f, 129, 0, 255}, {1.5f, 0, 0, 1}}) {
    CAPTURE(p.scale, p.lo);
    const Tensor codes = quantize(x, p);
    CHECK(codes.dtype() == (p.lo < 0 ? DType::int8 : DType::uint8));
    const FakeQuantOptions options{{p.lo, p.hi}, Clamp::real};
    const Tensor expected = fake_quantize(Variable(x), Variable(nibble::scalar(p.scale)),
                                          Variable(nibble::scalar(p.zero_point)), options)
                                .value();
    CHECK(test::same_elements(dequantize(codes, p.scale, p.zero_point), expected));
    CHECK(test::same_elements(quantize(x.permute({2, 0, 1}), p), codes.permute({2, 0, 1}).contiguous()));
  }
}

TEST_CASE(
    "numbers become codes, their product integers, and these the product of the numbers, but for their "
    "rounding") {
  Rng rng(6);
  const std::int64_t m = 33, n = 20, k = 100;
  const Tensor a = uniform({m, k}, 0, 1, rng), w = normal({n, k}, 0, 0.3, rng);
  const float a_scale = 1.0f / 255, w_scale = 1.0f / 127;
  const Tensor a_codes = quantize(a, {a_scale, 0, 0, 255}), w_codes = quantize(w, {w_scale, 0, -127, 127});
  const PackedMatrix packed(w_codes, {.bit_width = 8}, nibble::scalar(w_scale));
  Tensor y = empty({m, n});
  ActFormat format;
  format.scale = a_scale;
  qgemm({a_codes.data<std::uint8_t>(), m, k, k, format}, packed, ToFloat{y.mutable_data<float>(), n});
  // Of an activation at most half a code is lost.
  const Tensor weights = dequantize(w_codes, w_scale, 0);
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      double bound = 1e-5, expected = 0;
      for (std::int64_t p = 0; p < k; ++p) {
        const double weight = weights.data<float>()[j * k + p], act = a.data<float>()[i * k + p];
        expected += act * weight;
        bound += std::abs(weight) * a_scale / 2;
      }
      CHECK(std::abs(y.data<float>()[i * n + j] - expected) <= bound);
    }
}

TEST_CASE("quantize and dequantize: what does not fit is named") {
  const Tensor x = zeros({2});
  CHECK(quantize(empty({0, 3}), {1, 0, 0, 255}).shape() == Shape({0, 3}));
  CHECK_THROWS_WITH(quantize(Tensor(), {1, 0, 0, 255}), Catch::Contains("quantize: input is undefined"));
  CHECK_THROWS_WITH(quantize(x.to(DType::float64), {1, 0, 0, 255}), Catch::Contains("float64"));
  for (const float scale :
       {0.0f, -1.0f, std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    CHECK_THROWS_WITH(quantize(x, {scale, 0, 0, 255}), Catch::Contains("quantize: scale is"));
    CHECK_THROWS_WITH(dequantize(zeros({2}, DType::int8), scale, 0), Catch::Contains("dequantize: scale is"));
  }
  const float nan = std::numeric_limits<float>::quiet_NaN();
  CHECK_THROWS_WITH(quantize(x, {1, nan, 0, 255}), Catch::Contains("quantize: zero point is nan"));
  CHECK_THROWS_WITH(dequantize(zeros({2}, DType::int8), 1, nan), Catch::Contains("zero point is nan"));
  CHECK_THROWS_WITH(quantize(x, {1, 0, 0, 256}), Catch::Contains("codes from 0 to 256"));
  CHECK_THROWS_WITH(quantize(x, {1, 0, -1, 128}), Catch::Contains("codes from -1 to 128"));
  CHECK_THROWS_WITH(quantize(x, {1, 0, 3, 2}), Catch::Contains("codes from 3 to 2"));
  CHECK_THROWS_WITH(quantize(x, {1, 0, 0, 1.5f}), Catch::Contains("1.5"));
  CHECK_THROWS_WITH(dequantize(x, 1, 0), Catch::Contains("dequantize: codes are float32"));
}
