#include "tensor/kernels/optimizer.h"

#include "tensor/kernels/optimizer_formulas.h"
#include "tensor/simd/vec.h"

namespace nibble::NIBBLE_TIER {
namespace {

// Calls f(load, store) for whole vectors and once more for what remains.
template <class F>
void for_each_vector(std::size_t n, F&& f) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes)
    f([=](const float* p) { return load(p + i); }, [=](float* p, VecF v) { store(p + i, v); });
  if (i < n)
    f([=](const float* p) { return load_partial(p + i, n - i); },
      [=](float* p, VecF v) { store_partial(p + i, v, n - i); });
}

void sgd(float* parameter, const float* grad, float* momentum, std::size_t n, const SgdStep& step) noexcept {
  for_each_vector(n, [&](auto read, auto write) {
    VecF buffer(0.0f);
    if (momentum != nullptr) buffer = read(momentum);
    const VecF updated = sgd_update<VecF, float>(read(parameter), read(grad), buffer, step);
    if (momentum != nullptr) write(momentum, buffer);
    write(parameter, updated);
  });
}

void adam(float* parameter, const float* grad, float* exp_avg, float* exp_avg_sq, std::size_t n,
          const AdamStep& step) noexcept {
  for_each_vector(n, [&](auto read, auto write) {
    VecF mean = read(exp_avg), square = read(exp_avg_sq);
    const VecF updated = adam_update<VecF, float>(read(parameter), read(grad), mean, square, step);
    write(exp_avg, mean);
    write(exp_avg_sq, square);
    write(parameter, updated);
  });
}

}  // namespace

extern const OptimizerKernels optimizer_kernels = {sgd, adam};

}  // namespace nibble::NIBBLE_TIER
