#include "tensor/kernels/pool.h"

#include <type_traits>

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

// Calls f(y, x) for the taps of output (row, column) that lie inside, in row-major order. Fixed: 2x2 windows
// that all lie inside, unrolled.
template <bool Fixed, class F>
[[gnu::always_inline]] inline void for_each_tap(const DirectPool& p, Index row, Index column, F&& f) {
  if constexpr (Fixed) {
    const Index y = row * p.stride_h, x = column * p.stride_w;
    f(y, x), f(y, x + 1), f(y + 1, x), f(y + 1, x + 1);
    return;
  }
  for (Index r = 0; r < p.r; ++r) {
    const Index y = row * p.stride_h + r * p.dilation_h - p.padding_h;
    if (y < 0 || y >= p.h) continue;
    for (Index s = 0; s < p.s; ++s) {
      const Index x = column * p.stride_w + s * p.dilation_w - p.padding_w;
      if (x >= 0 && x < p.w) f(y, x);
    }
  }
}

bool is_fixed(const DirectPool& p) {
  return p.r == 2 && p.s == 2 && p.padding_h == 0 && p.padding_w == 0 && p.dilation_h == 1 &&
         p.dilation_w == 1 && (p.oh - 1) * p.stride_h + 2 <= p.h && (p.ow - 1) * p.stride_w + 2 <= p.w;
}

// Calls f(row, column, first image, whole vector or not, images of it) for all outputs.
template <class F>
[[gnu::always_inline]] inline void for_each_output(const DirectPool& p, F f) {
  for (Index row = p.first_row; row < p.end_row; ++row) {
    for (Index column = 0; column < p.ow; ++column) {
      Index i = 0;
      for (; i + kVec <= p.images; i += kVec) f(row, column, i, std::true_type{}, kVec);
      if (i < p.images) f(row, column, i, std::false_type{}, p.images - i);
    }
  }
}

template <bool Fixed>
void max_pool_windows(DirectPool p, const float* x, float* y, std::int32_t* indices) {
  for_each_output(
      p, [&](Index row, Index column, Index i, auto whole, Index n) __attribute__((always_inline)) {
        // The position rides along as a float, which is exact below 2^24 (the caller sees to that).
        VecF best(-kInfinity), position(-1.0f);
        bool first = true;
        for_each_tap<Fixed>(
            p, row, column, [&](Index ty, Index tx) __attribute__((always_inline)) {
              const VecF here(static_cast<float>(ty * p.w + tx));
              const VecF v = load_some<whole>(x + ty * p.x_h + tx * p.x_w + i, n);
              const auto take = is_greater_or_nan(v, best);
              best = blend(take, v, best);
              position = first ? here : blend(take, here, position);
              first = false;
            });
        if (p.relu) {
          const auto none = best <= VecF(0.0f);
          best = blend(none, VecF(0.0f), best);
          position = blend(none, VecF(-1.0f), position);
        }
        const Index out = row * p.y_h + column * p.y_w + i;
        store_some<whole>(y + out, best, n);
        store_codes<whole>(indices + out, to_int(position), n);
      });
}

void max_pool(const DirectPool& p, const float* x, float* y, std::int32_t* indices) noexcept {
  (is_fixed(p) ? max_pool_windows<true> : max_pool_windows<false>)(p, x, y, indices);
}

template <bool Fixed>
void max_pool_backward_windows(DirectPool p, const float* grad_y, const std::int32_t* indices,
                               float* grad_x) {
  for_each_output(
      p, [&](Index row, Index column, Index i, auto whole, Index n) __attribute__((always_inline)) {
        const Index out = row * p.y_h + column * p.y_w + i;
        const VecF grad = load_some<whole>(grad_y + out, n);
        const VecF position = to_float(load_codes<whole>(indices + out, n));
        for_each_tap<Fixed>(
            p, row, column, [&](Index ty, Index tx) __attribute__((always_inline)) {
              const VecF here(static_cast<float>(ty * p.w + tx));
              store_some<whole>(grad_x + ty * p.x_h + tx * p.x_w + i,
                                select(position == here, grad, VecF(0.0f)), n);
            });
      });
}

void max_pool_backward(const DirectPool& p, const float* grad_y, const std::int32_t* indices,
                       float* grad_x) noexcept {
  (is_fixed(p) ? max_pool_backward_windows<true> : max_pool_backward_windows<false>)(p, grad_y, indices,
                                                                                     grad_x);
}

}  // namespace

extern const PoolKernels pool_kernels = {max_pool, max_pool_backward};

}  // namespace nibble::NIBBLE_TIER
