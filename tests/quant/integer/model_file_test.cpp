#include "quant/integer/model_file.h"

#include <sys/resource.h>

#include <algorithm>
#include <map>
#include <string>

#include "quant/integer/model_payload.h"
#include "quant/integer/reference.h"
#include "tensor/format_error.h"
#include "tensor/safetensors.h"
#include "tests/support/catch.h"
#include "tests/support/random_int_model.h"
#include "tests/support/traces.h"

namespace nibble::quant {
namespace {

using test::RandomIntModel;

// The file with 2^28 weights stated for its first product, of which it has as few as before.
std::vector<std::byte> with_many_weights_declared(const std::vector<std::byte>& bytes) {
  TensorFile file = parse_safetensors(bytes);
  const auto text = file.tensors.at("model").values<std::uint8_t>();
  std::string json(text.begin(), text.end());
  constexpr std::string_view kKey = "\"weight\":[";
  const std::size_t begin = json.find(kKey) + kKey.size(), end = json.find(']', begin);
  REQUIRE(end < json.size());
  const bool is_linear = std::count(&json[begin], &json[end], ',') == 1;
  json.replace(begin, end - begin, is_linear ? "16384,16384" : "16384,16384,1,1");
  Tensor changed = empty({static_cast<std::int64_t>(json.size())}, DType::uint8);
  std::copy(json.begin(), json.end(), changed.mutable_data<std::uint8_t>());
  file.tensors["model"] = changed;
  const std::vector<std::byte> stated = serialize_safetensors(file);
  std::map<std::string, std::span<const std::byte>> payload;
  for (const auto& [name, stored] : view_safetensors(stated).tensors) payload[name] = stored.bytes;
  file.metadata["sha256"] = payload_hash(payload);
  return serialize_safetensors(file);
}

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
  SECTION("more weights than there are bytes, before there is memory for them") {
    const auto peak_kilobytes = [] {
      rusage usage{};
      getrusage(RUSAGE_SELF, &usage);
      return usage.ru_maxrss;
    };
    const std::vector<std::byte> bad = with_many_weights_declared(good);
    const auto before = peak_kilobytes();
    REQUIRE_THROWS_WITH(parse_nbq(bad), Catch::Contains(".weight has "));
    CHECK(peak_kilobytes() - before < 128 << 10);
  }
  SECTION("a checkpoint") {
    const auto bytes = serialize_safetensors({{{"conv1.weight", zeros({1})}}, {{"model", "lab-cnn"}}});
    REQUIRE_THROWS_WITH(parse_nbq(bytes), Catch::Contains("not an integer model"));
  }
}

TEST_CASE("a convolution whose windows would not fit memory is refused by name") {
  const auto model_of = [](std::int64_t rows, Size2 stride) {
    IntModel model;
    model.input.image = {1, rows, 16384};
    IntProduct conv;
    conv.name = "conv9";
    conv.weight = full({1, 1, 1, 8192}, 1, DType::int8);
    conv.weight_bits = 1;
    conv.options.stride = stride;
    conv.bias = {0};
    conv.weight_scale = {1};
    conv.out.bit_width = 32;
    model.layers.push_back(conv);
    return model;
  };
  REQUIRE_NOTHROW(check(model_of(4, {1, 2})));
  REQUIRE_THROWS_WITH(check(model_of(512, {1, 2})),
                      Catch::Contains("conv9: windows of 8192 columns") && Catch::Contains("268435456"));
  REQUIRE_THROWS_WITH(check(model_of(512, 1)), Catch::Contains("conv9: windows of 8192 columns"));
  // Windows of three channels that move by one pixel are read where they lie.
  IntModel in_place = model_of(512, 1);
  in_place.input.image = {3, 512, 16384};
  std::get<IntProduct>(in_place.layers[0]).weight = full({1, 3, 1, 8192}, 1, DType::int8);
  REQUIRE_NOTHROW(check(in_place));
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
