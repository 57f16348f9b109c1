// docs/integer-semantics.md by example: every case of tests/golden/integer_semantics.safetensors, which
// make_semantics_vectors.py computed from the specification with exact fractions.

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <tuple>
#include <vector>

#include "quant/integer/engine.h"
#include "quant/integer/reference.h"
#include "quant/kernels/reference.h"
#include "quant/kernels/requantize.h"
#include "quant/kernels/requantize_formula.h"
#include "quant/kernels/requantize_words.h"
#include "quant/multiplier.h"
#include "tensor/factory.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

namespace nibble::quant {
namespace {

std::vector<std::int32_t> ints(const test::Golden& golden, const std::string& name) {
  const Tensor values = golden.tensor(name).to(DType::int32).contiguous();
  const auto all = values.values<std::int32_t>();
  return {all.begin(), all.end()};
}

// Takes lists of any length from one tensor, in turn.
class Reader {
 public:
  Reader(const test::Golden& golden, const std::string& name) : values_(ints(golden, name)) {}
  std::vector<std::int32_t> take(std::int64_t n) {
    REQUIRE(at_ + n <= std::ssize(values_));
    const auto first = values_.begin() + at_;
    at_ += n;
    return {first, first + n};
  }
  std::int32_t take() { return take(1)[0]; }
  bool is_empty() const { return at_ == std::ssize(values_); }

 private:
  std::vector<std::int32_t> values_;
  std::ptrdiff_t at_ = 0;
};

const test::Golden& vectors() {
  static const test::Golden golden("integer_semantics");
  return golden;
}

struct Requantization {
  std::int32_t acc, multiplier, shift, zero_point, lo, hi, code;
};

std::vector<Requantization> requantizations() {
  Reader acc(vectors(), "requantize.acc"), multiplier(vectors(), "requantize.multiplier"),
      shift(vectors(), "requantize.shift"), zero_point(vectors(), "requantize.zero_point"),
      lo(vectors(), "requantize.lo"), hi(vectors(), "requantize.hi"), code(vectors(), "requantize.code");
  std::vector<Requantization> cases;
  while (!acc.is_empty())
    cases.push_back(
        {acc.take(), multiplier.take(), shift.take(), zero_point.take(), lo.take(), hi.take(), code.take()});
  return cases;
}

std::string words_of(const Requantization& c) {
  return detail::concat("clamp(round(", c.acc, " * ", c.multiplier, " / 2^", c.shift, ") + ", c.zero_point,
                        ", ", c.lo, ", ", c.hi, ")");
}

CodeFormat format_of(int bits, bool is_signed, std::int32_t zero_point, std::int32_t lo, std::int32_t hi) {
  return {.bit_width = bits, .is_signed = is_signed, .zero_point = zero_point, .lo = lo, .hi = hi};
}

CodeFormat sums() {
  return {.bit_width = 32, .is_signed = true, .zero_point = 0, .lo = -INT32_MAX, .hi = INT32_MAX};
}

// A model without layers whose pixels are the low bytes of codes.
IntModel model_of_codes(const Shape& image, const CodeFormat& format) {
  IntModel model;
  model.input.image = image;
  model.input.format = format;
  for (std::int32_t pixel = 0; pixel < 256; ++pixel)
    model.input.codes[static_cast<std::size_t>(pixel)] = static_cast<std::int16_t>(
        std::clamp(format.is_signed && pixel > 127 ? pixel - 256 : pixel, format.lo, format.hi));
  return model;
}

Tensor pixels_of(const Shape& image, const std::vector<std::int32_t>& codes) {
  return from_values(image.inserted(0, 1), std::vector<std::uint8_t>(codes.begin(), codes.end()));
}

IntProduct product_of(const Shape& weight, const std::vector<std::int32_t>& values, int bits,
                      const std::vector<std::int32_t>& bias) {
  IntProduct product;
  product.name = "product";
  product.weight = from_values(weight, std::vector<std::int8_t>(values.begin(), values.end()));
  product.weight_bits = bits;
  product.bias = bias;
  product.weight_scale = {1};
  product.out = sums();
  return product;
}

std::vector<std::int32_t> list(const Tensor& t) {
  const auto values = t.values<std::int32_t>();
  return {values.begin(), values.end()};
}

// The sums of the last layer: of the reference, and of the engine on every tier.
void check_sums(const IntModel& model, const Tensor& pixels, const std::vector<std::int32_t>& expected) {
  check(model);
  REQUIRE(list(run_reference(model, pixels).back().codes) == expected);
  for (const Isa isa : supported_isas()) {
    CAPTURE(name_of(isa));
    REQUIRE(list(IntEngine(model, isa).trace(pixels).back().codes) == expected);
  }
}

TEST_CASE("vectors: there are as many as the file says", "[tiers]") {
  REQUIRE(vectors().cases() >= 10000);
  REQUIRE(requantizations().size() >= 8000);
}

TEST_CASE("vectors: sums become codes by the formula and by the reference", "[tiers]") {
  for (const Requantization& c : requantizations()) {
    CAPTURE(words_of(c));
    REQUIRE(requantize(c.acc, c.multiplier, c.shift, c.zero_point, c.lo, c.hi) == c.code);
    REQUIRE(reference::requantize(c.acc, c.multiplier, c.shift, c.zero_point, c.lo, c.hi) == c.code);
  }
}

TEST_CASE("vectors: sums become codes on every tier", "[tiers]") {
  std::map<std::tuple<int, int, int>, std::vector<Requantization>> by_format;
  for (const Requantization& c : requantizations()) by_format[{c.zero_point, c.lo, c.hi}].push_back(c);
  for (const auto& [format, cases] : by_format) {
    std::vector<std::int32_t> acc, multiplier, shift;
    for (const Requantization& c : cases) {
      acc.push_back(c.acc);
      multiplier.push_back(c.multiplier);
      shift.push_back(c.shift);
    }
    for (const Isa isa : supported_isas()) {
      std::vector<std::uint8_t> codes(cases.size());
      requantize_kernels(isa).to_codes(
          {acc.data(), acc.size(), 1, acc.size(), nullptr},
          {multiplier.data(), shift.data(), std::get<0>(format), std::get<1>(format), std::get<2>(format)},
          codes.data(), static_cast<std::ptrdiff_t>(codes.size()));
      for (std::size_t i = 0; i < cases.size(); ++i) {
        INFO(name_of(isa) << ": " << words_of(cases[i]));
        REQUIRE(codes[i] == static_cast<std::uint8_t>(cases[i].code));
      }
    }
  }
}

// The kernel wants four channels. They all have the same sum, and with `pool` it stands elsewhere in the
// window of each, among sums that are no larger.
std::array<std::uint8_t, 4> word_of(const RequantizeWordsKernels& kernels, const Requantization& c, bool pool,
                                    bool by_doubles) {
  constexpr std::size_t kPitch = 2, kChannelStride = 64;
  std::vector<std::int32_t> acc(4 * kChannelStride + 64, -INT32_MAX);
  for (std::size_t k = 0; k < 4; ++k) acc[k * kChannelStride + (pool ? k / 2 * kPitch + k % 2 : 0)] = c.acc;
  const std::vector<std::int32_t> multiplier(4, c.multiplier), shift(4, c.shift);
  const std::vector<double> scale(4, std::ldexp(c.multiplier, -c.shift));
  std::uint32_t word = 0;
  kernels.run({.acc = acc.data(),
               .channel_stride = kChannelStride,
               .pitch = kPitch,
               .rows = 1,
               .columns = 1,
               .pool = pool,
               .multiplier = multiplier.data(),
               .shift = shift.data(),
               .scale = by_doubles ? scale.data() : nullptr,
               .zero_point = c.zero_point,
               .lo = c.lo,
               .hi = c.hi,
               .out = &word,
               .out_pitch = 1});
  std::array<std::uint8_t, 4> codes{};
  for (std::size_t k = 0; k < 4; ++k) codes[k] = static_cast<std::uint8_t>(word >> (8 * k));
  return codes;
}

TEST_CASE("vectors: sums become words on every tier, by products and where they are exact by doubles",
          "[tiers]") {
  std::size_t exact = 0;
  for (const Requantization& c : requantizations()) {
    std::array<std::uint8_t, 4> expected{};
    expected.fill(static_cast<std::uint8_t>(c.code));
    const double sum = std::abs(static_cast<double>(c.acc));
    const bool is_exact =
        sum * c.multiplier < 0x1p53 && sum * std::ldexp(c.multiplier, -c.shift) < 0x1p31 - 512;
    exact += is_exact;
    for (const Isa isa : supported_isas()) {
      const RequantizeWordsKernels& kernels = requantize_words_kernels(isa);
      for (const bool pool : {false, true}) {
        INFO(name_of(isa) << (pool ? ", pooled: " : ": ") << words_of(c));
        REQUIRE(word_of(kernels, c, pool, false) == expected);
        if (is_exact) REQUIRE(word_of(kernels, c, pool, true) == expected);
      }
    }
  }
  REQUIRE(exact >= 2000);
}

TEST_CASE("vectors: logits are brought to another scale", "[tiers]") {
  Reader acc(vectors(), "logit.acc"), multiplier(vectors(), "logit.multiplier"),
      shift(vectors(), "logit.shift"), out(vectors(), "logit.out");
  while (!acc.is_empty()) {
    const std::int32_t sum = acc.take(), m = multiplier.take(), s = shift.take(), expected = out.take();
    INFO(sum << " * " << m << " / 2^" << s);
    REQUIRE(requantize(sum, m, s, 0, -INT32_MAX, INT32_MAX) == expected);
    REQUIRE(reference::requantize(sum, m, s, 0, -INT32_MAX, INT32_MAX) == expected);
    // A bias alone is the sum.
    IntModel model = model_of_codes({1, 1, 1}, format_of(8, false, 0, 0, 255));
    model.layers.push_back(IntFlatten{"flatten"});
    IntProduct product = product_of({1, 1}, {1}, 8, {sum});
    product.multiplier = {m};
    product.shift = {s};
    model.layers.push_back(product);
    const Tensor pixels = zeros({1, 1, 1, 1}, DType::uint8);
    REQUIRE(list(run_reference(model, pixels).back().codes) == std::vector{expected});
  }
}

TEST_CASE("vectors: scales become multipliers", "[tiers]") {
  const Tensor scales = vectors().tensor("multiplier.scale");
  Reader multiplier(vectors(), "multiplier.multiplier"), shift(vectors(), "multiplier.shift");
  REQUIRE(scales.numel() >= 1000);
  for (const double scale : scales.values<double>()) {
    INFO(detail::concat(std::hexfloat, scale));
    const Multiplier m = make_multiplier(scale);
    REQUIRE(m.multiplier == multiplier.take());
    REQUIRE(m.shift == shift.take());
  }
  for (const double scale : vectors().tensor("multiplier.refused").values<double>()) {
    INFO(scale);
    REQUIRE_THROWS_AS(make_multiplier(scale), std::invalid_argument);
  }
}

TEST_CASE("vectors: products of codes and weights", "[tiers]") {
  const test::Golden& golden = vectors();
  Reader bits(golden, "dot.bits"), is_signed(golden, "dot.signed"), zero_point(golden, "dot.zero_point"),
      lo(golden, "dot.lo"), hi(golden, "dot.hi"), weight_bits(golden, "dot.weight_bits"),
      bias(golden, "dot.bias"), length(golden, "dot.length"), codes(golden, "dot.codes"),
      weights(golden, "dot.weights"), acc(golden, "dot.acc");
  std::size_t cases = 0;
  for (; !acc.is_empty(); ++cases) {
    CAPTURE(cases);
    const std::int64_t n = length.take();
    const int width = bits.take();
    const bool has_sign = is_signed.take() != 0;
    const std::int32_t zero = zero_point.take(), least = lo.take(), most = hi.take();
    const Shape image{n, 1, 1};
    IntModel model = model_of_codes(image, format_of(width, has_sign, zero, least, most));
    model.layers.push_back(IntFlatten{"flatten"});
    model.layers.push_back(product_of({1, n}, weights.take(n), weight_bits.take(), {bias.take()}));
    check_sums(model, pixels_of(image, codes.take(n)), {acc.take()});
  }
  REQUIRE(cases >= 1000);
}

TEST_CASE("vectors: convolutions", "[tiers]") {
  const test::Golden& golden = vectors();
  Reader sizes(golden, "conv.sizes"), codes(golden, "conv.codes"), weights(golden, "conv.weights"),
      bias(golden, "conv.bias"), acc(golden, "conv.acc");
  for (int i = 0; !sizes.is_empty(); ++i) {
    CAPTURE(i);
    const auto pair = [&] {
      const std::int64_t h = sizes.take();
      return Size2(h, sizes.take());
    };
    const std::int64_t channels = sizes.take(), height = sizes.take(), width = sizes.take(),
                       filters = sizes.take(), rows = sizes.take(), cols = sizes.take();
    ConvOptions options;
    options.stride = pair();
    options.padding = pair();
    options.dilation = pair();
    options.groups = sizes.take();
    const Shape image{channels, height, width}, weight{filters, channels / options.groups, rows, cols};
    const Size2 out = pair();
    const int width_of_codes = sizes.take();
    const bool is_signed = sizes.take() != 0;
    const std::int32_t zero_point = sizes.take(), lo = sizes.take(), hi = sizes.take();
    IntModel model = model_of_codes(image, format_of(width_of_codes, is_signed, zero_point, lo, hi));
    const int weight_bits = sizes.take();
    IntProduct product = product_of(weight, weights.take(weight.numel()), weight_bits, bias.take(filters));
    product.options = options;
    REQUIRE(output_shape(product, image) == Shape{filters, out.h, out.w});
    model.layers.push_back(product);
    check_sums(model, pixels_of(image, codes.take(image.numel())), acc.take(filters * out.h * out.w));
  }
}

TEST_CASE("vectors: windows of codes, most of them with ties", "[tiers]") {
  const test::Golden& golden = vectors();
  Reader sizes(golden, "pool.sizes"), codes(golden, "pool.codes"), largest(golden, "pool.largest");
  for (int i = 0; !sizes.is_empty(); ++i) {
    CAPTURE(i);
    const auto pair = [&] {
      const std::int64_t h = sizes.take();
      return Size2(h, sizes.take());
    };
    const Size2 in = pair();
    IntMaxPool pool{"pool", pair(), {}};
    pool.options.stride = pair();
    pool.options.padding = pair();
    pool.options.dilation = pair();
    pool.options.ceil_mode = sizes.take() != 0;
    const Size2 out = pair();
    const int bits = sizes.take();
    const bool is_signed = sizes.take() != 0;
    const std::int32_t zero_point = sizes.take(), lo = sizes.take(), hi = sizes.take();
    const Shape image{1, in.h, in.w}, pooled{1, out.h, out.w};
    IntModel model = model_of_codes(image, format_of(bits, is_signed, zero_point, lo, hi));
    const Tensor pixels = pixels_of(image, codes.take(image.numel()));
    model.layers.push_back(pool);
    REQUIRE(output_shape(pool, image) == pooled);
    const std::vector<std::int32_t> expected = largest.take(pooled.numel());
    REQUIRE(list(run_reference(model, pixels).back().codes) == expected);
    // The engine wants a product last: one whose logits are the codes.
    model.layers.push_back(IntFlatten{"flatten"});
    const std::int64_t n = pooled.numel();
    std::vector<std::int32_t> identity(static_cast<std::size_t>(n * n));
    for (std::int64_t j = 0; j < n; ++j) identity[static_cast<std::size_t>(j * (n + 1))] = 1;
    std::vector<std::int32_t> values = expected;
    for (std::int32_t& value : values) value -= zero_point;
    model.layers.push_back(
        product_of({n, n}, identity, 2, std::vector<std::int32_t>(static_cast<std::size_t>(n))));
    check_sums(model, pixels, values);
  }
}

TEST_CASE("vectors: of equal logits the first is the answer", "[tiers]") {
  Reader length(vectors(), "argmax.length"), logits(vectors(), "argmax.logits"),
      index(vectors(), "argmax.index");
  while (!length.is_empty()) {
    const std::vector<std::int32_t> values = logits.take(length.take());
    CAPTURE(values);
    REQUIRE(argmax(values.data(), std::ssize(values)) == index.take());
  }
}

}  // namespace
}  // namespace nibble::quant
