#include "quant/integer/linear_step.h"

#include <algorithm>
#include <stdexcept>

#include "tensor/check.h"
#include "tensor/factory.h"

namespace nibble::quant {
namespace {

// The narrowest container of the weights. Binary weights have no 0 for columns without a feature.
PackOptions pack_options(int weight_bits, bool has_gaps) {
  for (const int container : {1, 2, 4})
    if (weight_bits <= container && !(container == 1 && has_gaps)) return {.bit_width = container};
  return {.bit_width = 8};
}

Tensor placed(const Tensor& weight, const std::vector<std::int64_t>& column, std::int64_t row_bytes) {
  const Tensor from = weight.contiguous();
  Tensor to = zeros({weight.size(0), row_bytes}, DType::int8);
  for (std::int64_t j = 0; j < weight.size(0); ++j)
    for (std::size_t i = 0; i < column.size(); ++i)
      to.mutable_data<std::int8_t>()[j * row_bytes + column[i]] =
          from.data<std::int8_t>()[j * from.size(1) + static_cast<std::int64_t>(i)];
  return to;
}

PackedMatrix packed(Isa isa, const IntProduct& layer, const std::vector<std::int64_t>& column,
                    std::int64_t row_bytes) {
  const bool has_gaps = static_cast<std::int64_t>(column.size()) < row_bytes;
  try {
    return {isa, placed(layer.weight, column, row_bytes), pack_options(layer.weight_bits, has_gaps)};
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(layer.name + ": " + error.what());
  }
}

}  // namespace

LinearStep::LinearStep(Isa isa, const IntProduct& layer, const CodeFormat& input,
                       const std::vector<std::int64_t>& column, std::int64_t row_bytes)
    : layer_(layer),
      weights_(packed(isa, layer, column, row_bytes)),
      signed_bytes_(direct_conv_kernels(isa).signed_activations),
      in_(input, signed_bytes_),
      out_(layer.out, signed_bytes_) {
  // Packed products leave 2^30 to their sums.
  for (const std::int32_t b : layer.bias)
    NIBBLE_CHECK(std::abs(std::int64_t{b}) <= 1 << 30, layer.name, ": bias ", b,
                 ", the engine runs at most 2^30");
  for (std::int64_t j = 0; layer.is_requantized() && j < out_features(); ++j) {
    multiplier_.push_back(layer.multiplier_of(j));
    shift_.push_back(layer.shift_of(j));
  }
}

ActMatrix LinearStep::matrix(const std::uint8_t* rows, std::int64_t m) const {
  return {rows,
          m,
          row_bytes(),
          row_bytes(),
          {.bit_width = 8, .is_signed = signed_bytes_, .zero_point = in_.zero_point()}};
}

void LinearStep::run_sums(const std::uint8_t* rows, std::int64_t m, std::int32_t* sums) const {
  qgemm(matrix(rows, m), weights_,
        ToInt32{.data = sums, .stride = out_features(), .bias = layer_.bias.data()});
}

void LinearStep::run_codes(const std::uint8_t* rows, std::int64_t m, std::uint8_t* bytes) const {
  qgemm(matrix(rows, m), weights_,
        ToCodes{.data = bytes,
                .stride = out_features(),
                .multiplier = multiplier_.data(),
                .shift = shift_.data(),
                .zero_point = out_.zero_point(),
                .lo = out_.lo(),
                .hi = out_.hi(),
                .bias = layer_.bias.data()});
}

}  // namespace nibble::quant
