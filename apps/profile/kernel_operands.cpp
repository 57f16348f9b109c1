#include "apps/profile/kernel_operands.h"

#include <charconv>
#include <span>

#include "quant/qgemm.h"
#include "tensor/check.h"
#include "tensor/factory.h"

namespace nibble {
namespace {

// What values are does not change a kernel's time: a block of random ones is repeated.
void fill_randomly(std::span<std::uint8_t> bytes, std::uint64_t seed) {
  constexpr std::size_t kPeriod = 65521;  // prime: rows differ
  Rng rng(seed);
  for (std::size_t i = 0; i < bytes.size(); ++i)
    bytes[i] = i < kPeriod ? static_cast<std::uint8_t>(rng.below(256)) : bytes[i - kPeriod];
}

}  // namespace

std::string KernelShape::name() const {
  return std::to_string(m) + "x" + std::to_string(n) + "x" + std::to_string(k);
}

KernelShape parse_kernel_shape(const std::string& text) {
  constexpr std::int64_t kLargest = 65536;
  std::int64_t sides[3] = {};
  const char *at = text.data(), *const end = at + text.size();
  bool valid = true;
  for (int i = 0; i < 3 && valid; ++i) {
    if (i > 0) valid = at != end && *at++ == 'x';
    const auto [after, error] = std::from_chars(at, end, sides[i]);
    valid = valid && error == std::errc() && sides[i] >= 1 && sides[i] <= kLargest;
    at = after;
  }
  NIBBLE_CHECK(valid && at == end, "shape is '", text, "', expected MxNxK with sides of 1 to ", kLargest,
               ", as in 16x1024x1024");
  const KernelShape shape{sides[0], sides[1], sides[2]};
  constexpr std::int64_t kMostElements = std::int64_t{1} << 27;
  NIBBLE_CHECK(shape.n * shape.k <= kMostElements && shape.m * shape.k <= kMostElements &&
                   shape.m * shape.n <= kMostElements,
               "shape is '", text, "', expected at most ", kMostElements,
               " elements in each of its three matrices");
  const std::int64_t deepest = quant::PackedMatrix::max_k({});
  NIBBLE_CHECK(shape.k <= deepest, "shape is '", text, "', expected k of at most ", deepest,
               ", beyond which sums of 8-bit products can leave int32");
  return shape;
}

KernelOperands::KernelOperands(const KernelShape& shape)
    : shape_(shape),
      codes_(empty({shape.n, shape.k}, DType::int8)),
      activations_(empty({shape.m, shape.k}, DType::uint8)),
      float_activations_(ones({shape.m, shape.k})),
      result_(zeros({shape.m, shape.n}, DType::int32)),
      float_result_(zeros({shape.m, shape.n})) {
  const std::span<std::int8_t> codes = codes_.mutable_values<std::int8_t>();
  fill_randomly({reinterpret_cast<std::uint8_t*>(codes.data()), codes.size()}, 1);
  fill_randomly(activations_.mutable_values<std::uint8_t>(), 2);
}

quant::PackedMatrix KernelOperands::weights(int weight_bits, int act_bits) const {
  Tensor narrow = empty({shape_.n, shape_.k}, DType::int8);
  const std::span<const std::int8_t> from = codes_.values<std::int8_t>();
  const std::span<std::int8_t> to = narrow.mutable_values<std::int8_t>();
  for (std::size_t i = 0; i < to.size(); ++i)
    to[i] =
        static_cast<std::int8_t>(weight_bits == 1 ? (from[i] < 0 ? -1 : 1) : from[i] >> (8 - weight_bits));
  return {narrow, {.bit_width = weight_bits, .act_bits = act_bits}};
}

PackedB KernelOperands::float_weights() const {
  const Tensor weights = ones({shape_.n, shape_.k});
  return {shape_.k, shape_.n, {weights.data<float>(), 1, shape_.k}};
}

void KernelOperands::multiply(const quant::PackedMatrix& w, int act_bits) {
  quant::qgemm({activations(), shape_.m, shape_.k, activation_stride(act_bits), {.bit_width = act_bits}}, w,
               quant::ToInt32{result_.mutable_data<std::int32_t>(), shape_.n});
}

void KernelOperands::multiply(const PackedB& w) {
  gemm(shape_.m, {float_activations_.data<float>(), shape_.k, 1}, w,
       {float_result_.mutable_data<float>(), shape_.n, 1});
}

}  // namespace nibble
