#include "quant/kernels/quantize.h"

#include "quant/kernels/fake_quant_formulas.h"
#include "quant/kernels/vec_int.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

using Formulas = FakeQuantFormulas<VecF>;
VecF code_of(VecF x, const Formulas& formulas) { return formulas.levels_of(x).level; }

template <bool Whole>
void quantize_block(const float* x, std::uint8_t* codes, std::size_t n, const Formulas& formulas) {
  const VecF lo(formulas.lo);
  const FloatBlock values = load_block<VecF, Whole>(x, n);
  IntBlock block;
  for (std::size_t j = 0; j < kParts; ++j) {
    const VecF code = code_of(values.part[j], formulas);
    block.part[j] = to_int(select(code >= lo, code, lo));  // NaN: neither above nor below
  }
  store_codes<Whole>(codes, block, n);
}

void quantize(const float* x, std::uint8_t* codes, std::size_t n, const QuantizeParams& params) noexcept {
  const Formulas formulas({.scale = params.scale,
                           .zero_point = params.zero_point,
                           .lo = params.lo,
                           .hi = params.hi,
                           .clamp_passes = false,
                           .relu = false});
  std::size_t i = 0;
  for (; i + kBlock <= n; i += kBlock) quantize_block<true>(x + i, codes + i, kBlock, formulas);
  if (i < n) quantize_block<false>(x + i, codes + i, n - i, formulas);
}

template <bool Signed, bool Whole>
void dequantize_block(const std::uint8_t* codes, float* x, std::size_t n, VecF scale, VecF zero_point) {
  const IntBlock block = load_codes<Signed, Whole>(codes, n);
  FloatBlock values;
  for (std::size_t j = 0; j < kParts; ++j) values.part[j] = (to_float(block.part[j]) - zero_point) * scale;
  store_block<Whole>(x, values, n);
}

template <bool Signed>
void dequantize_as(const std::uint8_t* codes, float* x, std::size_t n, VecF scale, VecF zero_point) {
  std::size_t i = 0;
  for (; i + kBlock <= n; i += kBlock)
    dequantize_block<Signed, true>(codes + i, x + i, kBlock, scale, zero_point);
  if (i < n) dequantize_block<Signed, false>(codes + i, x + i, n - i, scale, zero_point);
}

void dequantize(const std::uint8_t* codes, float* x, std::size_t n, float scale, float zero_point,
                bool is_signed) noexcept {
  if (is_signed) return dequantize_as<true>(codes, x, n, VecF(scale), VecF(zero_point));
  dequantize_as<false>(codes, x, n, VecF(scale), VecF(zero_point));
}

}  // namespace

extern const QuantizeKernels quantize_kernels = {.quantize = quantize, .dequantize = dequantize};

}  // namespace nibble::quant::NIBBLE_TIER
