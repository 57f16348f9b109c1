#include "tensor/kernels/pool.h"

#include "tensor/simd/vec.h"

namespace nibble::NIBBLE_TIER {
namespace {

using Index = std::ptrdiff_t;
constexpr Index kVec = static_cast<Index>(kLanes);
constexpr float kInfinity = __builtin_inff();

template <bool Whole>
VecI load_codes(const std::int32_t* p, Index n) {
  if constexpr (Whole) return VecI::load_unaligned(p);
  alignas(64) std::int32_t buffer[kLanes] = {};
  std::memcpy(buffer, p, static_cast<std::size_t>(n) * sizeof(std::int32_t));
  return VecI::load_aligned(buffer);
}

template <bool Whole>
void store_codes(std::int32_t* p, VecI v, Index n) {
  if constexpr (Whole) return v.store_unaligned(p);
  alignas(64) std::int32_t buffer[kLanes];
  v.store_aligned(buffer);
  std::memcpy(p, buffer, static_cast<std::size_t>(n) * sizeof(std::int32_t));
}

// Calls f(tap position in the plane, y, x) for the taps of output (row, column) that lie inside, in row-major
// order.
template <class F>
inline void for_each_tap(const DirectPool& p, Index row, Index column, F&& f) {
  for (Index r = 0; r < p.r; ++r) {
    const Index y = row * p.stride_h + r * p.dilation_h - p.padding_h;
    if (y < 0 || y >= p.h) continue;
    for (Index s = 0; s < p.s; ++s) {
      const Index x = column * p.stride_w + s * p.dilation_w - p.padding_w;
      if (x >= 0 && x < p.w) f(y, x);
    }
  }
}

template <bool Whole>
void max_pool_images(const DirectPool& p, const float* x, float* y, std::int32_t* indices, Index n) {
  for (Index row = 0; row < p.oh; ++row) {
    for (Index column = 0; column < p.ow; ++column) {
      // The position rides along as a float, which is exact below 2^24 (the caller sees to that).
      VecF best(-kInfinity), position(0.0f);
      bool first = true;
      for_each_tap(p, row, column, [&](Index ty, Index tx) {
        const VecF here(static_cast<float>(ty * p.w + tx));
        const VecF v = load_some<Whole>(x + ty * p.x_h + tx * p.x_w, n);
        // Strictly greater replaces; NaN replaces too, and then stays, since nothing compares greater than
        // it.
        const auto take = (v > best) | is_nan(v);
        best = select(take, v, best);
        position = first ? here : select(take, here, position);
        first = false;
      });
      store_some<Whole>(y + row * p.y_h + column * p.y_w, best, n);
      store_codes<Whole>(indices + row * p.y_h + column * p.y_w, to_int(position), n);
    }
  }
}

void max_pool(const DirectPool& p, const float* x, float* y, std::int32_t* indices) noexcept {
  Index i = 0;
  for (; i + kVec <= p.images; i += kVec) max_pool_images<true>(p, x + i, y + i, indices + i, kVec);
  if (i < p.images) max_pool_images<false>(p, x + i, y + i, indices + i, p.images - i);
}

template <bool Whole>
void max_pool_backward_images(const DirectPool& p, const float* grad_y, const std::int32_t* indices,
                              float* grad_x, Index n) {
  for (Index row = 0; row < p.oh; ++row) {
    for (Index column = 0; column < p.ow; ++column) {
      const Index out = row * p.y_h + column * p.y_w;
      const VecF grad = load_some<Whole>(grad_y + out, n);
      const VecF position = to_float(load_codes<Whole>(indices + out, n));
      for_each_tap(p, row, column, [&](Index ty, Index tx) {
        const VecF here(static_cast<float>(ty * p.w + tx));
        store_some<Whole>(grad_x + ty * p.x_h + tx * p.x_w, select(position == here, grad, VecF(0.0f)), n);
      });
    }
  }
}

void max_pool_backward(const DirectPool& p, const float* grad_y, const std::int32_t* indices,
                       float* grad_x) noexcept {
  Index i = 0;
  for (; i + kVec <= p.images; i += kVec)
    max_pool_backward_images<true>(p, grad_y + i, indices + i, grad_x + i, kVec);
  if (i < p.images) max_pool_backward_images<false>(p, grad_y + i, indices + i, grad_x + i, p.images - i);
}

}  // namespace

extern const PoolKernels pool_kernels = {max_pool, max_pool_backward};

}  // namespace nibble::NIBBLE_TIER
