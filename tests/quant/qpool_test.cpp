#include "quant/qpool.h"

#include <algorithm>
#include <vector>

#include "tensor/factory.h"
#include "tensor/parallel.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;
using namespace nibble::quant;

namespace {

// Codes of all sizes in NHWC, with the shape of NCHW.
Tensor random_codes(const Shape& shape, DType dtype, Rng& rng) {
  Tensor codes = empty({shape[0], shape[2], shape[3], shape[1]}, dtype);
  visit(dtype, [&](auto type) {
    using T = decltype(type);
    for (T& code : codes.mutable_values<T>()) code = static_cast<T>(rng.below(256));
  });
  return codes.permute({0, 3, 1, 2});
}

Tensor pooled_as_floats(const Tensor& codes, Size2 kernel, const PoolOptions& options) {
  Tensor values = max_pool2d(codes.contiguous().to(DType::float64), kernel, options).values;
  const double least = codes.dtype() == DType::int8 ? -128 : 0;
  for (double& value : values.mutable_values<double>()) value = std::max(value, least);  // minus infinity
  return values;
}

}  // namespace

TEST_CASE("qmax_pool2d chooses the codes that max_pool2d does") {
  Rng rng(3);
  for (int i = 0; i < 300; ++i) {
    const auto pick = [&](std::initializer_list<std::int64_t> values) {
      return values.begin()[rng.below(values.size())];
    };
    const Size2 kernel(pick({1, 2, 3}), pick({1, 2, 3, 5}));
    PoolOptions o;
    if (rng.below(2) != 0) o.stride = {pick({1, 2, 3}), pick({1, 2, 3})};
    o.padding = {pick({0, 1}) * (kernel.h / 2), pick({0, 1}) * (kernel.w / 2)};
    o.dilation = {pick({1, 1, 2}), pick({1, 1, 2})};
    o.ceil_mode = rng.below(2) != 0;
    const Shape shape{pick({1, 3}), pick({1, 3, 8, 16, 33}), pick({5, 6, 9}), pick({9, 12})};
    const DType dtype = rng.below(2) != 0 ? DType::uint8 : DType::int8;
    const Tensor codes = random_codes(shape, dtype, rng);
    INFO(dtype << ' ' << shape << " kernel " << kernel << " stride " << o.stride << " padding " << o.padding
               << " dilation " << o.dilation << " ceil " << o.ceil_mode);
    const Tensor y = qmax_pool2d(codes, kernel, o);
    CHECK(y.dtype() == dtype);
    CHECK(y.permute({0, 2, 3, 1}).is_contiguous());
    CHECK(test::same_elements(y.contiguous().to(DType::float64), pooled_as_floats(codes, kernel, o)));
    CHECK(test::same_elements(qmax_pool2d(codes.contiguous(), kernel, o).contiguous(), y.contiguous()));
  }
}

TEST_CASE("qmax_pool2d: large windows") {
  Rng rng(5);
  for (const DType dtype : {DType::uint8, DType::int8})
    for (const Size2 kernel : {Size2(8, 9), Size2(9, 8), Size2(17, 16), Size2(20, 25)}) {
      INFO(dtype << " kernel " << kernel);
      const Tensor codes = random_codes({1, 5, 20, 25}, dtype, rng);
      const PoolOptions o{.stride = 1, .padding = 4};
      CHECK(test::same_elements(qmax_pool2d(codes, kernel, o).contiguous().to(DType::float64),
                                pooled_as_floats(codes, kernel, o)));
    }
}

TEST_CASE("qmax_pool2d: padding never wins, and nothing but padding is the least code") {
  for (DType dtype : {DType::uint8, DType::int8}) {
    const double least = dtype == DType::int8 ? -128 : 0;
    const Tensor low = full({1, 3, 4, 4}, least, dtype);
    const Tensor y = qmax_pool2d(low, 3, {.stride = 1, .padding = 1});
    CHECK(test::same_elements(y.contiguous(), low));
    // Positions -1 and 4 of four.
    const Tensor outside =
        qmax_pool2d(full({1, 3, 4, 4}, 5, dtype), 2, {.stride = 1, .padding = 1, .dilation = 5});
    CHECK(test::same_elements(outside.contiguous(), full({1, 3, 1, 1}, least, dtype)));
  }
}

TEST_CASE("qmax_pool2d: any number of threads gives the same codes") {
  Rng rng(4);
  const Tensor codes = random_codes({7, 16, 28, 28}, DType::uint8, rng);
  const int before = num_threads();
  std::vector<Tensor> results;
  for (int threads : {1, 2, 3}) {
    set_num_threads(threads);
    results.push_back(qmax_pool2d(codes, 2).contiguous());
  }
  set_num_threads(before);
  CHECK(test::same_elements(results[1], results[0]));
  CHECK(test::same_elements(results[2], results[0]));
  CHECK(qmax_pool2d(random_codes({0, 4, 6, 6}, DType::uint8, rng), 2).shape() == Shape({0, 4, 3, 3}));
}

TEST_CASE("qmax_pool2d: what does not fit is named") {
  const Tensor codes = zeros({1, 2, 4, 4}, DType::uint8);
  CHECK_THROWS_WITH(qmax_pool2d(Tensor(), 2), Catch::Contains("qmax_pool2d") && Catch::Contains("undefined"));
  CHECK_THROWS_WITH(qmax_pool2d(zeros({1, 2, 4, 4}), 2),
                    Catch::Contains("float32") && Catch::Contains("expected uint8 or int8"));
  CHECK_THROWS_WITH(qmax_pool2d(zeros({2, 4, 4}, DType::uint8), 2),
                    Catch::Contains("qmax_pool2d") && Catch::Contains("[2, 4, 4]"));
  CHECK_THROWS_WITH(qmax_pool2d(codes, 5), Catch::Contains("larger than input"));
  CHECK_THROWS_WITH(qmax_pool2d(codes, 2, {.padding = 2}), Catch::Contains("padding"));
  CHECK_THROWS_WITH(qmax_pool2d(codes, 2, {.stride = -1}), Catch::Contains("stride"));
  CHECK_THROWS_WITH(qmax_pool2d(codes, 2, {.relu = true}), Catch::Contains("relu"));
}
