#include "quant/kernels/fake_quant.h"

#include "quant/kernels/fake_quant_formulas.h"
#include "tensor/simd/vec.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

using namespace nibble::NIBBLE_TIER;

void forward(const float* x, float* y, std::size_t n, const FakeQuantParams& p) noexcept {
  const VecF scale(p.scale), zero_point(p.zero_point), lo(p.lo), hi(p.hi);
  const auto quantize = [&](VecF v) {
    return (FakeQuantElement<VecF>(v, scale, zero_point, lo, hi).clamped - zero_point) * scale;
  };
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, quantize(load(x + i)));
  if (i < n) store_partial(y + i, quantize(load_partial(x + i, n - i)), n - i);
}

FakeQuantSums backward(const float* x, const float* grad_y, float* grad_x, std::size_t n,
                       const FakeQuantParams& p) noexcept {
  const VecF scale(p.scale), zero_point(p.zero_point), lo(p.lo), hi(p.hi), zero(0.0f);
  VecF scale_sum(0.0f), outside_sum(0.0f);
  const auto step = [&](VecF v, VecF grad) {
    const FakeQuantElement<VecF> e(v, scale, zero_point, lo, hi);
    const VecF level = e.clamped - zero_point;
    if (p.clamp_passes) {
      scale_sum = scale_sum + grad * (level - e.quotient);
      return grad;
    }
    const auto inside = e.code == e.clamped;
    scale_sum = scale_sum + grad * (level - select(inside, e.quotient, zero));
    outside_sum = outside_sum + select(inside, zero, grad);
    return select(inside, grad, zero);
  };
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(grad_x + i, step(load(x + i), load(grad_y + i)));
  // Lanes beyond the end have a gradient of 0 and so add nothing.
  if (i < n)
    store_partial(grad_x + i, step(load_partial(x + i, n - i), load_partial(grad_y + i, n - i)), n - i);
  return {reduce_add(scale_sum), -p.scale * reduce_add(outside_sum)};
}

}  // namespace

extern const FakeQuantKernels fake_quant_kernels = {forward, backward};

}  // namespace nibble::quant::NIBBLE_TIER
