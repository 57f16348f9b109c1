#include "quant/kernels/fake_quant.h"

#include <algorithm>

#include "quant/kernels/fake_quant_vectors.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

template <class Formulas>
void quantize(const float* x, float* y, std::size_t n, Formulas formulas) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, formulas.forward(load(x + i)));
  if (i < n) store_partial(y + i, formulas.forward(load_partial(x + i, n - i)), n - i);
}

void forward(const float* x, float* y, std::size_t n, const FakeQuantParams& params) noexcept {
  if (is_regular(params)) return quantize(x, y, n, RegularFormulas(params));
  quantize(x, y, n, FakeQuantFormulas<VecF>(params));
}

template <class Formulas>
FakeQuantSums backward_by(Formulas formulas, const float* x, const float* grad_y, float* grad_x,
                          std::size_t n, float scale) {
  Sums sums;
  // Inlined everywhere, else the sums would have to live in memory.
  const auto add = [&](std::size_t j, VecF v, VecF grad) __attribute__((always_inline)) {
    const auto gradients = formulas.backward(formulas.levels_of(v), v, grad);
    sums.scale[j] = sums.scale[j] + gradients.scale;
    sums.outside[j] = sums.outside[j] + gradients.outside;
    return gradients.x;
  };
  std::size_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes)
    unroll(std::make_index_sequence<kParts>{}, [&](auto j) {
      const std::size_t at = i + j * kLanes;
      const VecF grad = add(j, load(x + at), load(grad_y + at));
      if (grad_x != nullptr) store(grad_x + at, grad);
    });
  // Lanes beyond the end have a gradient of 0 and so add nothing.
  for (std::size_t j = 0; i < n; ++j, i += kLanes) {
    const std::size_t left = std::min(n - i, kLanes);
    const bool whole = left == kLanes;
    const VecF v = whole ? load(x + i) : load_partial(x + i, left);
    const VecF grad = add(j, v, whole ? load(grad_y + i) : load_partial(grad_y + i, left));
    if (grad_x == nullptr) continue;
    if (whole) {
      store(grad_x + i, grad);
    } else {
      store_partial(grad_x + i, grad, left);
    }
  }
  return sums.total(scale);
}

FakeQuantSums backward(const float* x, const float* grad_y, float* grad_x, std::size_t n,
                       const FakeQuantParams& params) noexcept {
  // A clamp that passes gradients needs the quotients outside as well.
  if (is_regular(params) && !params.clamp_passes)
    return backward_by(RegularFormulas(params), x, grad_y, grad_x, n, params.scale);
  return backward_by(FakeQuantFormulas<VecF>(params), x, grad_y, grad_x, n, params.scale);
}

}  // namespace

extern const FakeQuantKernels fake_quant_kernels = {forward, backward};

}  // namespace nibble::quant::NIBBLE_TIER
