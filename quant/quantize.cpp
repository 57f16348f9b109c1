#include "quant/quantize.h"

#include <cmath>

#include "quant/code_bytes.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"

namespace nibble::quant {
namespace {

constexpr std::int64_t kGrain = 16384;  // elements: below that a second thread costs more than it brings

void check_affine(const char* op, float scale, float zero_point) {
  NIBBLE_CHECK(scale > 0 && std::isfinite(scale), op, ": scale is ", scale, ", expected a positive number");
  NIBBLE_CHECK(std::isfinite(zero_point), op, ": zero point is ", zero_point, ", expected a finite number");
}

}  // namespace

Tensor quantize(const Tensor& x, const QuantizeParams& p) {
  NIBBLE_CHECK(x.defined() && x.dtype() == DType::float32, "quantize: input is ",
               x.defined() ? name_of(x.dtype()) : "undefined", ", expected float32");
  check_affine("quantize", p.scale, p.zero_point);
  const bool is_signed = p.lo < 0;
  const float least = is_signed ? -128 : 0, most = is_signed ? 127 : 255;
  NIBBLE_CHECK(
      std::floor(p.lo) == p.lo && std::floor(p.hi) == p.hi && least <= p.lo && p.lo <= p.hi && p.hi <= most,
      "quantize: codes from ", p.lo, " to ", p.hi, ", expected whole numbers of one byte");
  const Tensor in = x.contiguous();
  Tensor codes = empty(x.shape(), is_signed ? DType::int8 : DType::uint8);
  const float* const from = in.data<float>();
  std::uint8_t* const to = mutable_code_bytes(codes);
  parallel_for(x.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    quantize_kernels().quantize(from + begin, to + begin, static_cast<std::size_t>(end - begin), p);
  });
  return codes;
}

Tensor dequantize(const Tensor& codes, float scale, float zero_point) {
  NIBBLE_CHECK(codes.defined() && (codes.dtype() == DType::int8 || codes.dtype() == DType::uint8),
               "dequantize: codes are ", codes.defined() ? name_of(codes.dtype()) : "undefined",
               ", expected int8 or uint8");
  check_affine("dequantize", scale, zero_point);
  const Tensor in = codes.contiguous();
  Tensor x = empty(codes.shape());
  const std::uint8_t* const from = code_bytes(in);
  float* const to = x.mutable_data<float>();
  parallel_for(x.numel(), kGrain, [&](std::int64_t begin, std::int64_t end) {
    quantize_kernels().dequantize(from + begin, to + begin, static_cast<std::size_t>(end - begin), scale,
                                  zero_point, codes.dtype() == DType::int8);
  });
  return x;
}

}  // namespace nibble::quant
