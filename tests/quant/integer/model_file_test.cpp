#include "quant/integer/model_file.h"

#include <algorithm>

#include "quant/integer/reference.h"
#include "tensor/format_error.h"
#include "tensor/safetensors.h"
#include "tests/support/catch.h"
#include "tests/support/random_int_model.h"
#include "tests/support/traces.h"

namespace nibble::quant {
namespace {

using test::RandomIntModel;

TEST_CASE("a model comes back from its file as it was, and is written the same again") {
  for (int i = 0; i < 100; ++i) {
    CAPTURE(i);
    RandomIntModel random(static_cast<std::uint64_t>(i));
    const IntModel model = random.model();
    const std::vector<std::byte> bytes = serialize_nbq(model);
    const IntModel back = parse_nbq(bytes);
    REQUIRE(serialize_nbq(back) == bytes);
    REQUIRE(sha256_of(back) == sha256_of(model));
    const Tensor pixels = random.pixels(model.input.image, 2);
    REQUIRE(test::first_difference(run_reference(model, pixels), run_reference(back, pixels)) == "");
  }
}

TEST_CASE("a file that is not what it says is refused") {
  RandomIntModel random(3);
  const IntModel model = random.model();
  const std::vector<std::byte> good = serialize_nbq(model);
  SECTION("every single damaged byte") {
    for (std::size_t i = 0; i < good.size(); ++i) {
      std::vector<std::byte> bad = good;
      bad[i] ^= std::byte{0x10};
      CAPTURE(i);
      // A blank of the header may become another: then it is the same model.
      try {
        const IntModel read = parse_nbq(bad);
        REQUIRE(serialize_nbq(read) == good);
      } catch (const FormatError&) {
      } catch (const std::invalid_argument&) {
      }
    }
  }
  SECTION("every length") {
    for (std::size_t n = 0; n < good.size(); ++n) {
      CAPTURE(n);
      REQUIRE_THROWS_AS(parse_nbq(std::span(good).first(n)), FormatError);
    }
  }
  SECTION("a checkpoint") {
    const auto bytes = serialize_safetensors({{{"conv1.weight", zeros({1})}}, {{"model", "lab-cnn"}}});
    REQUIRE_THROWS_WITH(parse_nbq(bytes), Catch::Contains("not an integer model"));
  }
}

TEST_CASE("a model whose sums could leave int32 is refused by name") {
  // 2^30 + 33,155 products of 255 and 127 fit, one more does not.
  const auto model_of = [](std::int64_t inputs) {
    IntModel model;
    model.input.image = {1, 1, inputs};
    model.layers.push_back(IntFlatten{"flatten"});
    IntProduct linear;
    linear.name = "fc9";
    linear.weight = full({1, inputs}, 127, DType::int8);
    linear.bias = {1 << 30};
    linear.weight_scale = {1};
    linear.out.bit_width = 32;
    model.layers.push_back(linear);
    return model;
  };
  REQUIRE_NOTHROW(check(model_of(33155)));
  REQUIRE_THROWS_WITH(check(model_of(33156)), Catch::Contains("fc9: sums need 33 bits at worst"));
}

}  // namespace
}  // namespace nibble::quant
