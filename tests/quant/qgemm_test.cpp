#include "quant/qgemm.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "quant/kernels/reference.h"
#include "quant/qconv2d.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"
#include "tests/quant/tiers.h"
#include "tests/support/catch.h"
#include "tests/support/guarded_buffer.h"

using namespace nibble;
using namespace nibble::quant;
using nibble::test::GuardedBuffer;
using nibble::test::product_tiers;
using reference::Codes;

namespace {

using Index = std::int64_t;
using Random = std::mt19937;

std::size_t size(Index n) { return static_cast<std::size_t>(n); }
Index between(Index lo, Index hi, Random& rng) { return std::uniform_int_distribution<Index>(lo, hi)(rng); }

enum class Fill { random, lowest, highest, alternating };

struct Range {
  std::int32_t lo, hi;
};

Range range_of(int bits, bool is_signed) {
  const std::int32_t lo = is_signed ? -(1 << (bits - 1)) : 0;
  return {lo, lo + (1 << bits) - 1};
}

Codes make_codes(Index rows, Index cols, Range range, std::int32_t zero_point, bool binary, Fill fill,
                 Random& rng) {
  Codes codes{rows, cols, zero_point, {}};
  for (Index i = 0; i < rows * cols; ++i) {
    const bool high = fill == Fill::highest || (fill == Fill::alternating && i % 2 == 1);
    std::int32_t code = fill == Fill::random ? static_cast<std::int32_t>(between(range.lo, range.hi, rng))
                                             : (high ? range.hi : range.lo);
    if (binary) code = code > range.lo ? 1 : -1;
    codes.code.push_back(code);
  }
  return codes;
}

Tensor to_tensor(const Codes& codes) {
  Tensor result = empty({codes.rows, codes.cols}, DType::int32);
  std::copy(codes.code.begin(), codes.code.end(), result.mutable_values<std::int32_t>().begin());
  return result;
}

// Activation codes as bytes or packed, ending at a page without access.
struct Activations {
  Codes codes;
  GuardedBuffer<std::uint8_t> bytes;
  ActFormat format;
  Index row_stride;

  Activations(Index m, Index k, const ActFormat& f, Fill fill, Random& rng)
      : codes(make_codes(m, k, range_of(f.bit_width, f.is_signed), f.zero_point, f.is_binary, fill, rng)),
        bytes(static_cast<std::size_t>(m * ((k * f.bit_width + 7) / 8))),
        format(f),
        row_stride((k * f.bit_width + 7) / 8) {
    std::fill(bytes.begin(), bytes.end(), std::uint8_t{0});
    for (Index i = 0; i < m; ++i)
      for (Index p = 0; p < k; ++p) {
        const std::int32_t code = codes.code[static_cast<std::size_t>(i * k + p)];
        const std::int32_t stored = f.is_binary ? (code + 1) / 2 : code;
        std::uint8_t& byte = bytes[static_cast<std::size_t>(i * row_stride + p * f.bit_width / 8)];
        byte = static_cast<std::uint8_t>(byte | (stored << (p * f.bit_width % 8)));
      }
    if (f.is_binary) codes.zero_point = 0;
  }
  ActMatrix view() const { return {bytes.data(), codes.rows, codes.cols, row_stride, format}; }
};

struct Case {
  Index m, n, k;
  int weight_bits, act_bits;
  bool unsigned_weights = false, signed_activations = false, binary_activations = false, zero_points = false;
  Fill fill = Fill::random;
  QGemmMethod method = QGemmMethod::dot;
  int code_bits = 0;  // of the codes that results become; 0: any number
};

std::ostream& operator<<(std::ostream& out, const Case& c) {
  return out << c.m << 'x' << c.n << 'x' << c.k << " w" << c.weight_bits << 'a' << c.act_bits
             << (c.unsigned_weights ? " unsigned weights" : "")
             << (c.signed_activations ? " signed activations" : "")
             << (c.binary_activations ? " binary activations" : "") << (c.zero_points ? " zero points" : "")
             << " fill " << static_cast<int>(c.fill)
             << (c.method == QGemmMethod::bitserial ? " bitserial" : "");
}

template <class Get>
void require_equal(const std::vector<Index>& expected, Get get, Index n) {
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const Index found = get(static_cast<Index>(i));
    if (found == expected[i]) continue;
    INFO("row " << static_cast<Index>(i) / n << " column " << static_cast<Index>(i) % n);
    REQUIRE(found == expected[i]);
  }
}

// Of `run`, which takes a QGemmOutput of n columns: requantized to codes of so many bits; some saturate.
template <class Run>
void check_codes(Run run, Index n, const std::vector<std::int32_t>& bias, const std::vector<Index>& sums,
                 int bits, Random& rng) {
  const Range range = range_of(bits, bits == 8 && rng() % 2);
  const auto zero_point = static_cast<std::int32_t>(between(range.lo, range.hi, rng));
  const Index stride = (n * bits + 7) / 8;
  std::vector<std::int32_t> multiplier(size(n)), shift(size(n));
  for (Index j = 0; j < n; ++j) {
    multiplier[size(j)] = static_cast<std::int32_t>(between(1 << 30, 0x7fffffff, rng));
    shift[size(j)] = static_cast<std::int32_t>(between(30, 46, rng));
  }
  GuardedBuffer<std::uint8_t> codes(sums.size() / size(n) * size(stride));
  run(ToCodes{.data = codes.data(),
              .stride = stride,
              .bit_width = bits,
              .multiplier = multiplier.data(),
              .shift = shift.data(),
              .zero_point = zero_point,
              .lo = range.lo,
              .hi = range.hi,
              .bias = bias.data()});
  INFO("to " << bits << " bits");
  std::vector<Index> expected;
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const std::size_t j = i % size(n);
    expected.push_back(
        reference::requantize(sums[i], multiplier[j], shift[j], zero_point, range.lo, range.hi) &
        ((1 << bits) - 1));
  }
  const auto code = [&](Index i) {
    const Index at = i % n * bits;
    return Index{codes[size(i / n * stride + at / 8)]} >> at % 8 & ((1 << bits) - 1);
  };
  require_equal(expected, code, n);
}

constexpr float kActScale = 0.37f;

// To float32, with a scale of the weights for all columns.
template <class Run>
void check_floats(Run run, Index n, float weight_scale, const std::vector<Index>& expected) {
  std::vector<float> bias(size(n), 0.5f);
  GuardedBuffer<float> floats(expected.size());
  run(ToFloat{floats.data(), n, bias.data(), true});
  for (std::size_t i = 0; i < expected.size(); ++i) {
    const float y = static_cast<float>(expected[i]) * (kActScale * weight_scale) + 0.5f;
    if (floats[i] != (y > 0 ? y : 0)) REQUIRE(floats[i] == (y > 0 ? y : 0));
  }
}

// The number of results compared.
Index check(Isa isa, const Case& c, Random& rng) {
  INFO(name_of(isa) << ": " << c);
  const bool binary_weights = c.weight_bits == 1;
  const Range weight_range = range_of(c.weight_bits, !c.unsigned_weights),
              act_range = range_of(c.act_bits, c.signed_activations);
  const auto zero_point_in = [&](Range r) {
    return c.zero_points ? static_cast<std::int32_t>(between(r.lo, r.hi, rng)) : 0;
  };
  const PackOptions options{.bit_width = c.weight_bits,
                            .is_signed = !c.unsigned_weights,
                            .zero_point = binary_weights ? 0 : zero_point_in(weight_range),
                            .act_bits = c.act_bits,
                            .method = c.method};
  const Codes w = make_codes(c.n, c.k, weight_range, options.zero_point, binary_weights, c.fill, rng);
  const PackedMatrix packed(isa, to_tensor(w), options);
  const Tensor unpacked = packed.unpack();
  REQUIRE(std::equal(w.code.begin(), w.code.end(), unpacked.values<std::int32_t>().begin()));

  const Activations a(c.m, c.k,
                      {.bit_width = c.act_bits,
                       .is_signed = c.signed_activations,
                       .is_binary = c.binary_activations,
                       .zero_point = c.binary_activations ? 0 : zero_point_in(act_range),
                       .scale = kActScale},
                      c.fill, rng);
  const std::vector<Index> expected = reference::qgemm(a.codes, w);

  std::vector<std::int32_t> bias(size(c.n));
  for (std::int32_t& b : bias) b = static_cast<std::int32_t>(between(-100000, 100000, rng));
  std::vector<Index> sums = expected;
  for (Index i = 0; i < c.m * c.n; ++i) sums[size(i)] += bias[size(i % c.n)];
  GuardedBuffer<std::int32_t> ints(size(c.m * c.n));
  qgemm(a.view(), packed, ToInt32{ints.data(), c.n, bias.data()});
  require_equal(
      sums, [&](Index i) { return Index{ints[size(i)]}; }, c.n);
  // Without a bias whole tiles may go straight into the result, which nothing else may touch.
  GuardedBuffer<std::int32_t> bare(size(c.m * c.n));
  qgemm(a.view(), packed, ToInt32{bare.data(), c.n});
  require_equal(
      expected, [&](Index i) { return Index{bare[size(i)]}; }, c.n);
  const auto run = [&](const QGemmOutput& out) { qgemm(a.view(), packed, out); };
  check_codes(run, c.n, bias, sums, c.code_bits != 0 ? c.code_bits : 1 << rng() % 4, rng);
  check_floats(run, c.n, packed.scale()[0], expected);
  return 4 * c.m * c.n;
}

const int kBits[] = {1, 2, 4, 8};
const Fill kFills[] = {Fill::random, Fill::lowest, Fill::highest, Fill::alternating};

Case random_case(Index m, Index n, Index k, Random& rng) {
  Case c{m, n, k, kBits[rng() % 4], kBits[rng() % 4]};
  c.unsigned_weights = c.weight_bits > 1 && rng() % 2;
  c.signed_activations = c.act_bits == 8 && rng() % 2;
  c.binary_activations = c.act_bits == 1 && rng() % 2;
  c.zero_points = rng() % 2;
  c.fill = rng() % 2 ? Fill::random : kFills[rng() % 4];
  if (c.weight_bits <= 2 && c.act_bits <= 2 && rng() % 2) c.method = QGemmMethod::bitserial;
  return c;
}

}  // namespace

TEST_CASE("the integer product is exact on every tier", "[tiers]") {
  Random rng(Catch::rngSeed());
  for (const Isa isa : product_tiers())
    for (Index k = 1; k <= 300; ++k)
      check(isa, random_case(between(1, 13, rng), between(1, 35, rng), k, rng), rng);
}

// Per pair of widths: 50,000 results, a million in the nightly preset.
TEST_CASE("every pair of widths is exact for codes at their extremes", "[tiers]") {
  Random rng(Catch::rngSeed());
  for (const Isa isa : product_tiers())
    for (const int w : kBits)
      for (const int a : kBits)
        for (const QGemmMethod method : {QGemmMethod::dot, QGemmMethod::bitserial}) {
          if (method == QGemmMethod::bitserial && (w > 2 || a > 2)) continue;
          for (Index compared = 0; compared < 50'000 * NIBBLE_TEST_REPEAT;)
            for (const Fill fill : kFills)
              for (const Index m : {1, 2, 3, 5, 12, 13, 37}) {
                Case c = random_case(m, between(1, 70, rng), between(1, 200, rng), rng);
                c = {m,
                     c.n,
                     c.k,
                     w,
                     a,
                     c.unsigned_weights && w > 1,
                     c.signed_activations && a == 8,
                     c.binary_activations && a == 1,
                     c.zero_points,
                     fill,
                     method};
                compared += check(isa, c, rng);
              }
        }
}

// The longer k, the fewer columns at a time; codes of one bit share bytes with those of the next columns.
TEST_CASE("codes of one bit are whole bytes however many columns go together", "[tiers]") {
  Random rng(Catch::rngSeed());
  for (const Isa isa : product_tiers())
    for (const Index k : {350, 600, 1200, 2400})
      for (const int bits : kBits)
        check(isa, {.m = 17, .n = 43, .k = k, .weight_bits = bits, .act_bits = 8, .code_bits = 1}, rng);
}

// As benchmarks measure it: many panels, of which the last may not be whole, and blocks of rows.
TEST_CASE("sums to which nothing is added go straight into a wide result", "[tiers]") {
  Random rng(Catch::rngSeed());
  for (const Isa isa : product_tiers())
    for (const Index m : {1, 4, 24, 77})
      for (const Index n : {128, 150})
        for (const int bits : kBits)
          for (const Index k : {36, 50, 400}) check(isa, {m, n, k, bits, 8}, rng);
}

TEST_CASE("sums reach the bound on k without leaving int32", "[tiers]") {
  Random rng(Catch::rngSeed());
  for (const Isa isa : product_tiers())
    for (const int bits : kBits)
      for (const bool unsigned_weights : {false, true})
        for (const bool zero_points : {false, true}) {
          if (bits == 1 && unsigned_weights) continue;
          PackOptions options{.bit_width = bits, .is_signed = !unsigned_weights};
          // Among zero points those at the ends of the range allow the smallest k.
          if (zero_points && bits > 1) options.zero_point = range_of(bits, options.is_signed).lo;
          const Index k = std::min<Index>(PackedMatrix::max_k(options), 40000);
          for (const Fill fill : {Fill::lowest, Fill::highest})
            for (const bool is_signed : {false, true})
              check(isa, {1, 3, k, bits, 8, unsigned_weights, is_signed, false, zero_points, fill}, rng);
        }
}

TEST_CASE("sums and a bias of 2^30 reach the bound on k without leaving int32", "[tiers]") {
  struct Ends {
    PackOptions options;
    std::int32_t weight;  // as far from the zero point as a code can be
    Index max_k;
  };
  const Ends all[] = {{{}, -128, 32896},
                      {{.is_signed = false}, 255, 16512},
                      {{.is_signed = false, .zero_point = 255}, 0, 16512},
                      {{.is_signed = false, .zero_point = 128}, 0, 32896},
                      {{.zero_point = 127}, -128, 16512},
                      {{.zero_point = -128}, 127, 16512}};
  for (const Isa isa : product_tiers())
    for (const Ends& ends : all) {
      INFO(name_of(isa) << ": weight " << ends.weight << " zero point " << ends.options.zero_point);
      const Index k = PackedMatrix::max_k(ends.options);
      CHECK(k == ends.max_k);
      const PackedMatrix w(isa, full({5, k}, ends.weight, DType::int32), ends.options);
      for (const std::int32_t zero_point : {0, 255}) {
        const std::vector<std::uint8_t> a(size(k), static_cast<std::uint8_t>(255 - zero_point));
        const Index sum = k * (zero_point == 0 ? 255 : -255) * (ends.weight - ends.options.zero_point);
        const std::vector<std::int32_t> bias(5, sum > 0 ? 1 << 30 : -(1 << 30));
        std::vector<std::int32_t> found(5);
        qgemm({a.data(), 1, k, k, {.zero_point = zero_point}}, w, ToInt32{found.data(), 5, bias.data()});
        for (const std::int32_t each : found) CHECK(each == sum + bias[0]);
      }
      CHECK_THROWS_WITH(PackedMatrix(isa, full({1, k + 1}, ends.weight, DType::int32), ends.options),
                        Catch::Contains("k is " + std::to_string(k + 1)));
    }
}

TEST_CASE("weights with scales per group", "[tiers]") {
  Random rng(Catch::rngSeed());
  for (const Isa isa : product_tiers())
    for (const Index group : {32, 64, 128})
      for (const PackOptions& options :
           {PackOptions{.bit_width = 1}, PackOptions{.bit_width = 2}, PackOptions{.bit_width = 4},
            PackOptions{.bit_width = 8}, PackOptions{.bit_width = 2, .is_signed = false, .zero_point = 1},
            PackOptions{.bit_width = 4, .is_signed = false, .zero_point = 9},
            PackOptions{.bit_width = 8, .is_signed = false, .zero_point = 100},
            PackOptions{.bit_width = 4, .zero_point = -3}, PackOptions{.bit_width = 8, .zero_point = 50}})
        for (const Index m : {1, 5, 13}) {
          const int bits = options.bit_width;
          const Index n = between(1, 40, rng), k = between(group + 1, 5 * group, rng),
                      groups = (k + group - 1) / group;
          INFO(name_of(isa) << ": " << m << 'x' << n << 'x' << k << " w" << bits << " groups of " << group
                            << (options.is_signed ? "" : " unsigned") << " zero point "
                            << options.zero_point);
          const Codes w = make_codes(n, k, range_of(bits, options.is_signed), options.zero_point, bits == 1,
                                     Fill::random, rng);
          const Activations a(
              m, k, {.is_signed = m == 5, .zero_point = static_cast<std::int32_t>(m), .scale = 0.25f},
              Fill::random, rng);
          Tensor scale = empty({n, groups}, DType::float32);
          for (float& s : scale.mutable_values<float>()) s = static_cast<float>(between(1, 100, rng)) / 64;
          const PackedMatrix packed(isa, to_tensor(w), options, scale);
          REQUIRE(packed.group() >= group);
          std::vector<float> floats(size(m * n));
          qgemm(a.view(), packed, ToFloat{floats.data(), n});
          for (Index i = 0; i < m; ++i)
            for (Index j = 0; j < n; ++j) {
              double expected = 0, magnitude = 0;
              for (Index g = 0; g < groups; ++g) {
                const double part = double{scale.data<float>()[j * groups + g]} * 0.25 *
                                    static_cast<double>(reference::dot(a.codes, i, w, j, g * group,
                                                                       std::min(k, (g + 1) * group)));
                expected += part;
                magnitude += std::abs(part);
              }
              // Sums over codes as stored are larger than those of values.
              const double tolerance = 1e-5 * (magnitude + 1e3);
              REQUIRE(std::abs(double{floats[size(i * n + j)]} - expected) <= tolerance);
            }
        }
}

TEST_CASE("integer convolutions are products of windows", "[tiers]") {
  Random rng(Catch::rngSeed());
  for (const Isa isa : product_tiers()) {
    int direct = 0, matrices = 0;
    for (int trial = 0; trial < 100; ++trial) {
      const Index groups = trial % 4 == 3 ? 2 : trial % 8 == 2 ? 4 : 1;
      const Index per_group_in = between(1, 6, rng), per_group_out = between(1, 20, rng);
      const reference::Window g{.n = between(1, 2, rng),
                                .h = between(3, trial % 10 == 9 ? 60 : 9, rng),  // sums of several bands
                                .w = between(3, 9, rng),
                                .c = per_group_in,
                                .kh = between(1, 3, rng),
                                .kw = between(1, 3, rng),
                                .stride = between(1, 2, rng),
                                .padding = between(0, 2, rng),
                                .dilation = between(1, trial % 5 == 0 ? 2 : 1, rng)};
      if (g.h + 2 * g.padding <= g.dilation * (g.kh - 1) || g.w + 2 * g.padding <= g.dilation * (g.kw - 1))
        continue;
      const int bits = kBits[rng() % 4], act_bits = kBits[rng() % 4];
      const bool is_signed = bits == 1 || rng() % 2 == 0, has_zero_point = bits > 1 && rng() % 2 == 0;
      const Range range = range_of(bits, is_signed);
      const PackOptions options{
          .bit_width = bits,
          .is_signed = is_signed,
          .zero_point = has_zero_point ? static_cast<std::int32_t>(between(range.lo, range.hi, rng)) : 0};
      const ActFormat format{
          .bit_width = act_bits,
          .is_signed = act_bits == 8 && rng() % 2 == 0,
          .zero_point = static_cast<std::int32_t>(between(0, (1 << (act_bits - 1)) - 1, rng)),
          .scale = kActScale};
      const Index channels = groups * per_group_in, out_channels = groups * per_group_out;
      INFO(name_of(isa) << ": " << g.n << 'x' << g.h << 'x' << g.w << 'x' << channels << " to "
                        << out_channels << " window " << g.kh << 'x' << g.kw << " stride " << g.stride
                        << " padding " << g.padding << " dilation " << g.dilation << " groups " << groups
                        << " w" << bits << 'a' << act_bits << (is_signed ? "" : " unsigned weights")
                        << " zero points " << options.zero_point << ' ' << format.zero_point);
      const Fill fill = kFills[rng() % 4];
      const Activations x(1, g.n * g.h * g.w * channels, format, fill, rng);
      const Codes w = make_codes(out_channels, per_group_in * g.kh * g.kw, range, options.zero_point,
                                 bits == 1, fill, rng);
      // Windows run over [r, s, c], weights are given as [c, r, s].
      Tensor weights = empty({out_channels, per_group_in, g.kh, g.kw}, DType::int32);
      for (Index k = 0; k < out_channels; ++k)
        for (Index p = 0; p < w.cols; ++p)
          weights.mutable_data<std::int32_t>()[(k * per_group_in + p % per_group_in) * g.kh * g.kw +
                                               p / per_group_in] = w.code[size(k * w.cols + p)];
      const PackedConv2d packed(
          isa, weights, {.stride = g.stride, .padding = g.padding, .dilation = g.dilation, .groups = groups},
          options);
      (packed.direct() ? direct : matrices) += 1;

      const Index pixels = g.n * g.out_h() * g.out_w();
      std::vector<Index> sums(size(pixels * out_channels));
      for (Index group = 0; group < groups; ++group) {
        Codes images{g.n * g.h * g.w, per_group_in, format.zero_point, {}};
        for (Index i = 0; i < images.rows * per_group_in; ++i)
          images.code.push_back(
              x.codes.code[size(i / per_group_in * channels + group * per_group_in + i % per_group_in)]);
        Codes filters{per_group_out, w.cols, w.zero_point, {}};
        filters.code.assign(w.code.begin() + group * per_group_out * w.cols,
                            w.code.begin() + (group + 1) * per_group_out * w.cols);
        const std::vector<Index> own = reference::qgemm(reference::windows(images, g), filters);
        for (Index i = 0; i < pixels * per_group_out; ++i)
          sums[size(i / per_group_out * out_channels + group * per_group_out + i % per_group_out)] =
              own[size(i)];
      }
      const auto run = [&](const QGemmOutput& out) {
        qconv2d({x.bytes.data(), g.n, g.h, g.w, channels, format}, packed, out);
      };
      GuardedBuffer<std::int32_t> ints(sums.size());
      run(ToInt32{ints.data(), out_channels});
      require_equal(
          sums, [&](Index i) { return Index{ints[size(i)]}; }, out_channels);
      check_floats(run, out_channels, 1.0f, sums);
      std::vector<std::int32_t> bias(size(out_channels));
      for (std::int32_t& b : bias) b = static_cast<std::int32_t>(between(-100000, 100000, rng));
      for (std::size_t i = 0; i < sums.size(); ++i) sums[i] += bias[i % size(out_channels)];
      // Groups of a matrix each write whole bytes.
      const bool any_bits = packed.direct() || groups == 1;
      check_codes(run, out_channels, bias, sums, any_bits ? kBits[rng() % 4] : 8, rng);
    }
    CHECK(direct > 0);
    CHECK(matrices > 0);
  }
}

TEST_CASE("integer products do not depend on the number of threads", "[tiers]") {
  Random rng(Catch::rngSeed());
  const Codes w = make_codes(300, 500, range_of(4, true), 0, false, Fill::random, rng);
  for (const Isa isa : product_tiers()) {
    const PackedMatrix packed(isa, to_tensor(w), {.bit_width = 4});
    for (const Index m : {1, 700}) {
      const Activations a(m, 500, {.zero_point = 3}, Fill::random, rng);
      std::vector<std::int32_t> one(size(m * 300)), three = one;
      const int before = num_threads();
      set_num_threads(1);
      qgemm(a.view(), packed, ToInt32{one.data(), 300});
      set_num_threads(3);
      qgemm(a.view(), packed, ToInt32{three.data(), 300});
      set_num_threads(before);
      CHECK(one == three);
    }
  }
}

TEST_CASE("what does not fit is refused with its value") {
  const auto packing = [](const Tensor& codes, const PackOptions& options, const Tensor& scale = {}) {
    PackedMatrix(codes, options, scale);
  };
  Tensor codes = zeros({3, 40}, DType::int8);
  CHECK_THROWS_WITH(packing(codes, {.bit_width = 3}), Catch::Contains("3 bits, expected 1, 2, 4 or 8"));
  CHECK_THROWS_WITH(packing(codes, {.bit_width = 1}), Catch::Contains("code [0, 0] is 0, expected -1 or 1"));
  CHECK_THROWS_WITH(packing(codes, {.zero_point = 200}), Catch::Contains("zero point 200"));
  codes.mutable_data<std::int8_t>()[41] = 8;
  CHECK_THROWS_WITH(packing(codes, {.bit_width = 4}), Catch::Contains("code [1, 1] is 8, expected -8 to 7"));
  CHECK_THROWS_WITH(packing(codes, {}, zeros({3}, DType::float32)), Catch::Contains("scale 0 is 0"));
  CHECK_THROWS_WITH(packing(codes, {}, ones({4}, DType::float32)), Catch::Contains("scale of shape [4]"));

  const PackedMatrix w(codes, {.act_bits = 4});
  const std::vector<std::uint8_t> a(40);
  std::vector<std::int32_t> out(3);
  CHECK_THROWS_WITH(qgemm({a.data(), 1, 40, 40, {}}, w, ToInt32{out.data(), 3}),
                    Catch::Contains("at most 4"));
  CHECK_THROWS_WITH(qgemm({a.data(), 1, 39, 40, {.bit_width = 4}}, w, ToInt32{out.data(), 3}),
                    Catch::Contains("39 columns, weights 40"));
  const std::int32_t bias[3] = {0, 1 << 30, -(1 << 30) - 1};
  CHECK_THROWS_WITH(qgemm({a.data(), 1, 40, 40, {.bit_width = 4}}, w, ToInt32{out.data(), 3, bias}),
                    Catch::Contains("bias 2"));
}
