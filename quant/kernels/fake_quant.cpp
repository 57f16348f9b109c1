#include "quant/kernels/fake_quant.h"

#include "quant/kernels/fake_quant_formulas.h"
#include "tensor/simd/vec.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

using namespace nibble::NIBBLE_TIER;

// Partial sums live in as many lanes on every tier, so that they come out the same.
constexpr std::size_t kSumLanes = 16;
constexpr std::size_t kParts = kSumLanes / kLanes;

void forward(const float* x, float* y, std::size_t n, const FakeQuantParams& params) noexcept {
  const FakeQuantFormulas<VecF> formulas(params);
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, formulas.forward(load(x + i)));
  if (i < n) store_partial(y + i, formulas.forward(load_partial(x + i, n - i)), n - i);
}

struct Sums {
  VecF scale[kParts], outside[kParts];

  Sums() {
    for (std::size_t j = 0; j < kParts; ++j) scale[j] = outside[j] = VecF(0.0f);
  }

  static double total(const VecF (&parts)[kParts]) {
    alignas(64) float lanes[kSumLanes];
    for (std::size_t j = 0; j < kParts; ++j) store(lanes + j * kLanes, parts[j]);
    double sum = 0;
    for (const float lane : lanes) sum += double{lane};
    return sum;
  }
};

FakeQuantSums backward(const float* x, const float* grad_y, float* grad_x, std::size_t n,
                       const FakeQuantParams& params) noexcept {
  const FakeQuantFormulas<VecF> formulas(params);
  Sums sums;
  const auto add = [&](std::size_t j, VecF v, VecF grad) {
    const auto gradients = formulas.backward(v, grad);
    sums.scale[j] = sums.scale[j] + gradients.scale;
    sums.outside[j] = sums.outside[j] + gradients.outside;
    return gradients.x;
  };
  std::size_t i = 0;
  for (; i + kSumLanes <= n; i += kSumLanes)
    unroll(std::make_index_sequence<kParts>{}, [&](auto j) {
      const std::size_t at = i + j * kLanes;
      store(grad_x + at, add(j, load(x + at), load(grad_y + at)));
    });
  // Lanes beyond the end have a gradient of 0 and so add nothing.
  for (std::size_t j = 0; i < n; ++j, i += kLanes) {
    if (i + kLanes <= n) {
      store(grad_x + i, add(j, load(x + i), load(grad_y + i)));
    } else {
      const std::size_t left = n - i;
      store_partial(grad_x + i, add(j, load_partial(x + i, left), load_partial(grad_y + i, left)), left);
    }
  }
  return {Sums::total(sums.scale), -double{params.scale} * Sums::total(sums.outside)};
}

}  // namespace

extern const FakeQuantKernels fake_quant_kernels = {forward, backward};

}  // namespace nibble::quant::NIBBLE_TIER
