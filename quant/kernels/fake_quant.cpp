#include "quant/kernels/fake_quant.h"

#include <algorithm>

#include "quant/kernels/fake_quant_formulas.h"
#include "tensor/simd/vec.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

using namespace nibble::NIBBLE_TIER;

// Partial sums live in as many lanes on every tier, so that they come out the same.
constexpr std::size_t kSumLanes = 16;
constexpr std::size_t kParts = kSumLanes / kLanes;
constexpr std::ptrdiff_t kVec = kLanes, kRun = kSumLanes;

// FakeQuantFormulas for regular parameters, without division. Far outside the codes x is limited, which
// changes nothing but that quotients stay small.
class RegularFormulas : public FakeQuantFormulas<VecF> {
 public:
  explicit RegularFormulas(const FakeQuantParams& p)
      : FakeQuantFormulas(p),
        divider_(p.scale),
        least_(p.relu ? 0.0f : -0x1p22f * p.scale),
        largest_(0x1p22f * p.scale) {}

  Levels levels_of(VecF x) const {
    return levels(divider_.quotient(smaller_or_second(largest_, larger_or_second(least_, x))));
  }
  VecF forward(VecF x) const { return value(levels_of(x)); }

 private:
  Divider divider_;
  VecF least_, largest_;
};

template <class Formulas>
void quantize(const float* x, float* y, std::size_t n, const Formulas& formulas) {
  std::size_t i = 0;
  for (; i + kLanes <= n; i += kLanes) store(y + i, formulas.forward(load(x + i)));
  if (i < n) store_partial(y + i, formulas.forward(load_partial(x + i, n - i)), n - i);
}

void forward(const float* x, float* y, std::size_t n, const FakeQuantParams& params) noexcept {
  if (is_regular(params)) return quantize(x, y, n, RegularFormulas(params));
  quantize(x, y, n, FakeQuantFormulas<VecF>(params));
}

struct Sums {
  VecF scale[kParts], outside[kParts];

  Sums() {
    for (std::size_t j = 0; j < kParts; ++j) scale[j] = outside[j] = VecF(0.0f);
  }

  FakeQuantSums total(float by) const { return {total(scale), -double{by} * total(outside)}; }

 private:
  static double total(const VecF (&parts)[kParts]) {
    alignas(64) float lanes[kSumLanes];
    for (std::size_t j = 0; j < kParts; ++j) store(lanes + j * kLanes, parts[j]);
    double sum = 0;
    for (const float lane : lanes) sum += double{lane};
    return sum;
  }
};

template <class Formulas>
FakeQuantSums backward_by(const Formulas& formulas, const float* x, const float* grad_y, float* grad_x,
                          std::size_t n, float scale) {
  Sums sums;
  const auto add = [&](std::size_t j, VecF v, VecF grad) {
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

// What stands for the order of codes inside a window, and costs less: limited like x, not like the code, and
// rounded by adding a number whose unit in the last place is 1.
class CodeOrder {
 public:
  explicit CodeOrder(const FakeQuantParams& p)
      : divider_(p.scale),
        zero_point_(p.zero_point),
        least_(std::max((p.lo - p.zero_point) * p.scale, p.relu ? 0.0f : -__builtin_inff())),
        largest_((p.hi - p.zero_point) * p.scale) {}

  VecF of(VecF x) const {
    const VecF limited = smaller_or_second(largest_, larger_or_second(least_, x));
    return divider_.quotient_of_normal(limited) + zero_point_ + VecF(0x1.8p23f);
  }

 private:
  Divider divider_;
  VecF zero_point_, least_, largest_;
};

template <bool Fixed>
void pool_windows(const QuantPool& p, const float* x, float* y, float* slope, float* source,
                  const FakeQuantParams& params) {
  const CodeOrder order(params);
  const RegularFormulas formulas(params);
  const std::ptrdiff_t line = p.w * p.images;
  for (std::ptrdiff_t row = 0; row < p.oh; ++row) {
    for (std::ptrdiff_t column = 0; column < p.ow; ++column) {
      const std::ptrdiff_t corner = row * p.stride_h * p.w + column * p.stride_w;
      const std::ptrdiff_t out = (row * p.ow + column) * p.images;
      const VecF first(static_cast<float>(corner + 1));
      for (std::ptrdiff_t i = 0; i < p.images; i += kVec) {
        const float* const in = x + corner * p.images + i;
        VecF chosen = load(in), best = order.of(chosen), place = first;
        const auto visit = [&](std::ptrdiff_t r, std::ptrdiff_t s) __attribute__((always_inline)) {
          const VecF v = load(in + r * line + s * p.images), code = order.of(v);
          const auto take = is_greater_or_nan(code, best);
          best = select(take, code, best);
          chosen = select(take, v, chosen);
          place = select(take, first + VecF(static_cast<float>(r * p.w + s)), place);
        };
        if constexpr (Fixed) {
          visit(0, 1), visit(1, 0), visit(1, 1);
        } else {
          for (std::ptrdiff_t r = 0; r < p.r; ++r)
            for (std::ptrdiff_t s = r == 0; s < p.s; ++s) visit(r, s);
        }
        const auto levels = formulas.levels_of(chosen);
        store(y + out + i, formulas.value(levels));
        if (slope == nullptr) continue;
        const auto of_one = formulas.backward(levels, chosen, VecF(1.0f));
        store(slope + out + i, of_one.scale);
        store(source + out + i, place * (of_one.x - of_one.outside));
      }
    }
  }
}

void pool_forward(const QuantPool& p, const float* x, float* y, float* slope, float* source,
                  const FakeQuantParams& params) noexcept {
  (p.r == 2 && p.s == 2 ? pool_windows<true> : pool_windows<false>)(p, x, y, slope, source, params);
}

FakeQuantSums pool_backward(const QuantPool& p, const float* grad_y, const float* slope, const float* source,
                            float* grad_x, std::ptrdiff_t first, std::ptrdiff_t n, float scale) noexcept {
  Sums sums;
  const VecF zero(0.0f);
  const std::ptrdiff_t end = first + n;
  // Pixel by pixel, so that every lane of the sums adds up in the order of memory.
  for (std::ptrdiff_t at = first; at < end;) {
    const std::ptrdiff_t line = at / (p.w * p.images), plane = line / p.h, y = line % p.h;
    const std::ptrdiff_t line_end = std::min(end, (line + 1) * p.w * p.images), row = y / p.stride_h;
    const bool in_window = row < p.oh && y % p.stride_h < p.r;
    std::ptrdiff_t x = at / p.images % p.w, image = at % p.images;
    for (std::ptrdiff_t column = x / p.stride_w, s = x % p.stride_w; at < line_end; ++x, image = 0) {
      const std::ptrdiff_t pixel_end = std::min(line_end, at + p.images - image);
      if (in_window && column < p.ow && s < p.s) {
        const VecF here(static_cast<float>(y * p.w + x + 1)), clamped_here = zero - here;
        std::ptrdiff_t from = ((plane * p.oh + row) * p.ow + column) * p.images + image;
        for (; at < pixel_end; at += kRun, from += kRun)
          unroll(std::make_index_sequence<kParts>{}, [&](auto j) {
            const std::size_t lane = j * kLanes;
            const VecF place = load(source + from + lane), grad = load(grad_y + from + lane);
            const VecF inside = select(place == here, grad, zero);
            const VecF outside = select(place == clamped_here, grad, zero);
            sums.scale[j] = sums.scale[j] + (inside + outside) * load(slope + from + lane);
            sums.outside[j] = sums.outside[j] + outside;
            if (grad_x != nullptr) store(grad_x + at + lane, inside);
          });
      } else {
        for (; at < pixel_end; at += kVec)
          if (grad_x != nullptr) store(grad_x + at, zero);
      }
      if (++s == p.stride_w) s = 0, ++column;
    }
  }
  return sums.total(scale);
}

}  // namespace

extern const FakeQuantKernels fake_quant_kernels = {forward, backward};
extern const QuantPoolKernels quant_pool_kernels = {pool_forward, pool_backward};

}  // namespace nibble::quant::NIBBLE_TIER
