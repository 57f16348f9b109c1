#include "quant/qgemm.h"

#include <string>
#include <vector>

#include "bench/cases.h"
#include "bench/measure.h"
#include "quant/qconv2d.h"
#include "tensor/factory.h"
#include "tensor/simd/isa.h"

namespace nibble::bench {
namespace {

using quant::ActFormat;
using quant::PackedMatrix;
using quant::PackOptions;

Tensor random_codes(const Shape& shape, int bits, std::uint32_t seed) {
  Rng rng(seed);
  Tensor codes = empty(shape, DType::int8);
  for (std::int8_t& code : codes.mutable_values<std::int8_t>()) {
    const auto random = static_cast<int>(rng.below(std::uint64_t{1} << bits));
    code = static_cast<std::int8_t>(bits == 1 ? 2 * random - 1 : random - (1 << (bits - 1)));
  }
  return codes;
}

Tensor random_bytes(std::int64_t n) {
  Rng rng(3);
  Tensor bytes = empty({n}, DType::uint8);
  for (std::uint8_t& byte : bytes.mutable_values<std::uint8_t>())
    byte = static_cast<std::uint8_t>(rng.below(256));
  return bytes;
}

// Of 8-bit weights: halved for the int8 whose pairs maddubs can take (|w| <= 64), as a proof at packing
// finds.
enum class Range { full, provable };

std::function<void()> make_product(const QGemmCase& c, int act_bits, bool cold, std::int64_t group,
                                   Range range) {
  Tensor codes = random_codes({c.n, c.k}, c.weight_bits, 2);
  if (range == Range::provable)
    for (std::int8_t& code : codes.mutable_values<std::int8_t>()) code = static_cast<std::int8_t>(code / 2);
  Tensor scale;
  if (group != 0) {
    Rng rng(4);
    scale = uniform({c.n, (c.k + group - 1) / group}, 0.01, 0.02, rng);
  }
  std::vector<PackedMatrix> weights{{codes, {.bit_width = c.weight_bits, .act_bits = act_bits}, scale}};
  // Cold: every call meets weights that no cache holds any more.
  if (cold)
    while (static_cast<std::int64_t>(weights.size()) * weights.front().bytes() < kColdBytes)
      weights.push_back(weights.front().clone());
  const std::int64_t stride = (c.k * act_bits + 7) / 8;
  const Tensor a = random_bytes(c.m * stride);
  Tensor out = zeros({c.m, c.n}, DType::int32);
  Tensor floats = zeros({c.m, c.n});
  return [=, next = std::size_t{0}]() mutable {
    const PackedMatrix& w = weights[next++ % weights.size()];
    const quant::ActMatrix x{a.data<std::uint8_t>(), c.m, c.k, stride, {.bit_width = act_bits}};
    if (group == 0)
      quant::qgemm(x, w, quant::ToInt32{out.mutable_data<std::int32_t>(), c.n});
    else
      quant::qgemm(x, w, quant::ToFloat{floats.mutable_data<float>(), c.n});
    benchmark::ClobberMemory();
  };
}

std::function<void()> make_convolution(const ConvCase& c, int weight_bits) {
  const quant::PackedConv2d weights(random_codes({c.k, c.c / c.groups, c.window, c.window}, weight_bits, 2),
                                    c.options(), {.bit_width = weight_bits});
  const Tensor x = random_bytes(c.n * c.size * c.size * c.c);
  Tensor out = zeros({c.n, c.out(), c.out(), c.k}, DType::uint8);
  const std::vector<std::int32_t> multiplier(static_cast<std::size_t>(c.k), 1 << 30),
      shift(static_cast<std::size_t>(c.k), 40);
  return [=]() mutable {
    quant::qconv2d({x.data<std::uint8_t>(), c.n, c.size, c.size, c.c, {}}, weights,
                   quant::ToCodes{.data = out.mutable_data<std::uint8_t>(),
                                  .stride = c.k,
                                  .multiplier = multiplier.data(),
                                  .shift = shift.data()});
    benchmark::ClobberMemory();
  };
}

}  // namespace

std::int32_t nibble_sum_of_extremes() {
  Tensor codes = empty({1, kExtremeProducts}, DType::int8);
  codes.fill(127);
  const std::vector<std::uint8_t> activations(kExtremeProducts, 255);
  std::int32_t sum = 0;
  quant::qgemm({activations.data(), 1, kExtremeProducts, kExtremeProducts, {}}, PackedMatrix(codes, {}),
               quant::ToInt32{&sum, 1});
  return sum;
}

void register_qgemm() {
  const auto add_product = [](const QGemmCase& c, int act_bits, bool cold, std::int64_t group = 0,
                              Range range = Range::full) {
    for (int threads = 1; threads <= (cold ? 1 : 2); ++threads)
      add(c.name(act_bits, name_of(active_isa()), cold, group, range == Range::provable), threads, "GOPS",
          c.gop(), [=] { return make_product(c, act_bits, cold, group, range); });
  };
  for (const QGemmCase& shape : kQGemmShapes)
    for (const int weight_bits : {1, 2, 4, 8}) {
      QGemmCase c = shape;
      c.weight_bits = weight_bits;
      const bool is_large = c.n * c.k >= kLargeWeights;
      for (const bool cold : {false, true}) {
        if (cold && !is_large) continue;
        add_product(c, 8, cold);
        if (weight_bits == 4) add_product(c, 8, cold, 32);
      }
      if (weight_bits == 8) add_product(c, 8, false, 0, Range::provable);
      if (weight_bits <= 2)
        for (const int act_bits : {1, 2}) add_product(c, act_bits, false);
    }
  for (const ConvCase& c : kConvCases)
    for (const int weight_bits : {4, 8})
      for (const int threads : {1, 2})
        add(std::string("qconv2d/") + c.name + "/w:" + std::to_string(weight_bits) +
                "/a:8/isa:" + name_of(active_isa()),
            threads, "GOPS", c.gflop(), [=] { return make_convolution(c, weight_bits); });
}

}  // namespace nibble::bench
