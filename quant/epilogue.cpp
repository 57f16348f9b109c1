#include "quant/epilogue.h"

#include "tensor/check.h"

namespace nibble::quant {
namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

// bias - zero_point * column sum, and the proof that no result leaves int32: the sum of products of values is
// below 2^30 (max_k), and so is zero_point * column sum.
void prepare_additions(std::int32_t zero_point, const ColumnFacts& columns, const std::int32_t* bias,
                       std::int32_t* out) {
  for (std::int64_t j = 0; j < columns.n; ++j) {
    const std::int32_t b = bias == nullptr ? 0 : bias[j];
    NIBBLE_CHECK(b >= -(1 << 30) && b <= (1 << 30), "qgemm: bias ", j, " is ", b, ", expected at most 2^30");
    out[j] = b - zero_point * columns.sums[size(j)];
  }
}

}  // namespace

Epilogue::Epilogue(Isa isa, const ColumnFacts& columns, std::int32_t zero_point, float scale,
                   const QGemmOutput& out, std::int64_t column)
    : kernels_(requantize_kernels(isa)), bits_(bits_kernels(isa)), out_(out), column_(column) {
  const std::int32_t* bias = nullptr;
  if (const auto* ints = std::get_if<ToInt32>(&out)) bias = ints->bias;
  if (const auto* codes = std::get_if<ToCodes>(&out)) bias = codes->bias;
  if (bias != nullptr || zero_point != 0) {
    additions_storage_ = Storage::allocate(size(columns.n) * sizeof(std::int32_t));
    auto* const to = reinterpret_cast<std::int32_t*>(additions_storage_->data());
    prepare_additions(zero_point, columns, bias, to);
    additions_ = to;
  }
  if (!std::holds_alternative<ToFloat>(out)) return;
  scales_storage_ = Storage::allocate(2 * size(columns.n) * sizeof(float));
  auto* const products = reinterpret_cast<float*>(scales_storage_->data());
  for (std::int64_t j = 0; j < columns.n; ++j) {
    const bool is_grouped = columns.scale.empty();
    products[j] = is_grouped ? scale : scale * columns.scale[columns.scale.size() == 1 ? 0 : size(j)];
    if (is_grouped) products[columns.n + j] = -static_cast<float>(zero_point) * columns.scaled_sums[size(j)];
  }
  float_additions_ = products + columns.n;
  scales_ = products;
}

SumTile Epilogue::tile(const Sums& s) const {
  return {s.acc, size(s.stride), size(s.rows), size(s.cols),
          additions_ == nullptr ? nullptr : additions_ + s.j};
}

void Epilogue::write(const ToInt32& to, const Sums& s, std::uint8_t*) const {
  kernels_.add(tile(s), to.data + s.i * to.stride + column_ + s.j, to.stride);
}

void Epilogue::write(const ToFloat& to, const Sums& s, std::uint8_t*) const {
  float* const out = to.data + s.i * to.stride + column_ + s.j;
  const FloatEpilogue epilogue{scales_ + s.j, to.bias == nullptr ? nullptr : to.bias + s.j, to.relu};
  if (s.scaled == nullptr)
    kernels_.to_float(tile(s), epilogue, out, to.stride);
  else
    kernels_.floats_to_float({s.scaled, size(s.stride), size(s.rows), size(s.cols), float_additions_ + s.j},
                             epilogue, out, to.stride);
}

void Epilogue::write(const ToCodes& to, const Sums& s, std::uint8_t* scratch) const {
  std::uint8_t* const out = to.data + s.i * to.stride + (column_ + s.j) * to.bit_width / 8;
  const bool packed = to.bit_width < 8;
  kernels_.to_codes(tile(s), {to.multiplier + s.j, to.shift + s.j, to.zero_point, to.lo, to.hi},
                    packed ? scratch : out, packed ? s.cols : to.stride);
  for (std::int64_t i = 0; packed && i < s.rows; ++i)
    bits_.pack(scratch + i * s.cols, size(s.cols), to.bit_width, out + i * to.stride);
}

void Epilogue::write(const Sums& sums, std::uint8_t* scratch) const {
  std::visit([&](const auto& to) { write(to, sums, scratch); }, out_);
}

Epilogue::Place Epilogue::unchanged(std::int64_t i, std::int64_t j) const {
  const auto* to = std::get_if<ToInt32>(&out_);
  if (to == nullptr || additions_ != nullptr) return {nullptr, 0};
  return {to->data + i * to->stride + column_ + j, to->stride};
}

}  // namespace nibble::quant
