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

// Calls f(y, x) for the taps of output (row, column) that lie inside, in row-major order.
template <class F>
[[gnu::always_inline]] inline void for_each_tap(const DirectPool& p, Index row, Index column, F&& f) {
  for (Index r = 0; r < p.r; ++r) {
    const Index y = row * p.stride_h + r * p.dilation_h - p.padding_h;
    if (y < 0 || y >= p.h) continue;
    for (Index s = 0; s < p.s; ++s) {
      const Index x = column * p.stride_w + s * p.dilation_w - p.padding_w;
      if (x >= 0 && x < p.w) f(y, x);
    }
  }
}

// Windows of 2x2 that all lie inside have kernels of their own.
bool is_2x2(const DirectPool& p) {
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

// Positions ride along as floats, which are exact below 2^24 (the caller sees to that).
struct Candidate {
  VecF value, position;
};

[[gnu::always_inline]] inline Candidate better(Candidate earlier, Candidate later) {
  const auto take = is_greater_or_nan(later.value, earlier.value);
  return {blend(take, later.value, earlier.value), blend(take, later.position, earlier.position)};
}

template <bool Whole>
[[gnu::always_inline]] inline void store_candidate(const DirectPool& p, Candidate best, float* y,
                                                   std::int32_t* indices, Index n) {
  if (p.relu) {
    const auto none = best.value <= VecF(0.0f);
    best = {blend(none, VecF(0.0f), best.value), blend(none, VecF(-1.0f), best.position)};
  }
  store_some<Whole>(y, best.value, n);
  store_codes<Whole>(indices, to_int(best.position), n);
}

void max_pool_any(const DirectPool& p, const float* x, float* y, std::int32_t* indices) {
  for_each_output(
      p, [&](Index row, Index column, Index i, auto whole, Index n) __attribute__((always_inline)) {
        Candidate best{VecF(-kInfinity), VecF(-1.0f)};
        bool first = true;
        for_each_tap(
            p, row, column, [&](Index ty, Index tx) __attribute__((always_inline)) {
              const VecF here(static_cast<float>(ty * p.w + tx));
              if (first) best.position = here;
              first = false;
              best = better(best, {load_some<whole>(x + ty * p.x_h + tx * p.x_w + i, n), here});
            });
        const Index out = row * p.y_h + column * p.y_w + i;
        store_candidate<whole>(p, best, y + out, indices + out, n);
      });
}

// The four positions of a window, counted from its first.
struct Window2x2 {
  explicit Window2x2(const DirectPool& p)
      : position{VecF(0.0f), VecF(1.0f), VecF(static_cast<float>(p.w)), VecF(static_cast<float>(p.w + 1))},
        offset{0, p.x_w, p.x_h, p.x_h + p.x_w} {}

  VecF position[4];
  Index offset[4];
};

// By rounds, which wait for each other less than a row of comparisons.
void max_pool_2x2(DirectPool p, const float* x, float* y, std::int32_t* indices) {
  const Window2x2 window(p);
  for_each_output(
      p, [&](Index row, Index column, Index i, auto whole, Index n) __attribute__((always_inline)) {
        const Index top = row * p.stride_h, left = column * p.stride_w;
        const float* const in = x + (top * p.x_h + left * p.x_w + i);
        const auto tap = [&](auto t) __attribute__((always_inline)) {
          return Candidate{load_some<whole>(in + window.offset[t], n), window.position[t]};
        };
        using std::integral_constant;
        Candidate best = better(better(tap(integral_constant<int, 0>{}), tap(integral_constant<int, 1>{})),
                                better(tap(integral_constant<int, 2>{}), tap(integral_constant<int, 3>{})));
        best.position = best.position + VecF(static_cast<float>(top * p.w + left));
        const Index out = row * p.y_h + column * p.y_w + i;
        store_candidate<whole>(p, best, y + out, indices + out, n);
      });
}

void max_pool(const DirectPool& p, const float* x, float* y, std::int32_t* indices) noexcept {
  is_2x2(p) ? max_pool_2x2(p, x, y, indices) : max_pool_any(p, x, y, indices);
}

void max_pool_backward_any(const DirectPool& p, const float* grad_y, const std::int32_t* indices,
                           float* grad_x) {
  for_each_output(
      p, [&](Index row, Index column, Index i, auto whole, Index n) __attribute__((always_inline)) {
        const Index out = row * p.y_h + column * p.y_w + i;
        const VecF grad = load_some<whole>(grad_y + out, n);
        const VecF position = to_float(load_codes<whole>(indices + out, n));
        for_each_tap(
            p, row, column, [&](Index ty, Index tx) __attribute__((always_inline)) {
              const VecF here(static_cast<float>(ty * p.w + tx));
              store_some<whole>(grad_x + ty * p.x_h + tx * p.x_w + i,
                                select(position == here, grad, VecF(0.0f)), n);
            });
      });
}

void max_pool_backward_2x2(DirectPool p, const float* grad_y, const std::int32_t* indices, float* grad_x) {
  const Window2x2 window(p);
  for_each_output(
      p, [&](Index row, Index column, Index i, auto whole, Index n) __attribute__((always_inline)) {
        const Index top = row * p.stride_h, left = column * p.stride_w;
        const Index out = row * p.y_h + column * p.y_w + i;
        const VecF grad = load_some<whole>(grad_y + out, n);
        const VecF position =
            to_float(load_codes<whole>(indices + out, n)) - VecF(static_cast<float>(top * p.w + left));
        float* const to = grad_x + (top * p.x_h + left * p.x_w + i);
        unroll(
            std::make_index_sequence<4>{}, [&](auto t) __attribute__((always_inline)) {
              store_some<whole>(to + window.offset[t],
                                select(position == window.position[t], grad, VecF(0.0f)), n);
            });
      });
}

void max_pool_backward(const DirectPool& p, const float* grad_y, const std::int32_t* indices,
                       float* grad_x) noexcept {
  is_2x2(p) ? max_pool_backward_2x2(p, grad_y, indices, grad_x)
            : max_pool_backward_any(p, grad_y, indices, grad_x);
}

}  // namespace

extern const PoolKernels pool_kernels = {max_pool, max_pool_backward};

}  // namespace nibble::NIBBLE_TIER
