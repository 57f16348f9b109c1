#include "quant/kernels/quant_pool.h"

#include <algorithm>

#include "quant/kernels/fake_quant_vectors.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

constexpr std::ptrdiff_t kVec = kLanes, kRun = kSumLanes;

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
    return divider_.quotient_of_normal(limited) + zero_point_ + VecF(kUnits);
  }

  static constexpr float kUnits = 0x1.8p23f;

 private:
  Divider divider_;
  VecF zero_point_, least_, largest_;
};

// Whether each of the first three of four numbers has the largest code of all.
struct HasLargest {
  MaskF of[3];
};

VecF largest_of(const VecF (&v)[4]) {
  return larger_or_second(larger_or_second(v[0], v[1]), larger_or_second(v[2], v[3]));
}

class ManyCodes {
 public:
  explicit ManyCodes(const FakeQuantParams& p) : order_(p) {}

  const CodeOrder& order() const { return order_; }
  HasLargest has_largest(const VecF (&v)[4]) const {
    const VecF code[4] = {order_.of(v[0]), order_.of(v[1]), order_.of(v[2]), order_.of(v[3])};
    const VecF largest = largest_of(code);
    return {{code[0] == largest, code[1] == largest, code[2] == largest}};
  }

 private:
  CodeOrder order_;
};

// Of at most 16 codes. The largest number has the largest code; what reaches the least number of that code
// has it too, so that one quotient does for all four.
class FewCodes {
 public:
  static bool fit(const FakeQuantParams& p) { return p.hi - first(p) < 16 && p.lo >= -128 && p.hi <= 255; }

  explicit FewCodes(const FakeQuantParams& p)
      : order_(p), first_(bits_of(VecF(CodeOrder::kUnits + first(p)))) {
    const RegularFormulas formulas(p);
    for (std::size_t at = 0; at < 16; at += kLanes) {
      const VecF code = VecF(first(p)) + to_float(lane_numbers() + VecI(static_cast<std::int32_t>(at)));
      // Adding the zero point rounds, which moves the boundary away from there, but not by 2^kAway units in
      // the last place. Halving finds the last number before it.
      const VecF near = (code - VecF(p.zero_point) - VecF(0.5f)) * VecF(p.scale);
      const VecI upwards = (bits_of(near) >> 31) | VecI(1);
      VecF before = from_bits(bits_of(near) - (upwards << kAway));
      for (int power = kAway; power >= 0; --power) {
        const VecF further = from_bits(bits_of(before) + (upwards << power));
        before = select(formulas.levels_of(further).code < code, further, before);
      }
      store(least_ + at, from_bits(bits_of(before) + upwards));
    }
    least_[0] = -__builtin_inff();
  }

  const CodeOrder& order() const { return order_; }
  HasLargest has_largest(const VecF (&v)[4]) const {
    const VecF least = lookup_16(least_, bits_of(order_.of(largest_of(v))) - first_);
    return {{v[0] >= least, v[1] >= least, v[2] >= least}};
  }

 private:
  static constexpr int kAway = 9;
  // The least code that occurs.
  static float first(const FakeQuantParams& p) { return p.relu ? p.zero_point : p.lo; }

  CodeOrder order_;
  VecI first_;
  alignas(64) float least_[16];
};

// Of the elements of a window, the first with the largest code, and 1 + its position in the plane.
struct Choice {
  VecF value, place;
};

// Windows of any size, p.r lines of p.s elements.
class AnyWindow {
 public:
  using Codes = CodeOrder;

  AnyWindow(const QuantPool& p, const CodeOrder& codes, float first) : p_(p), order_(codes), first_(first) {}

  Choice choose(const float* in) const {
    Choice choice{load(in), first_};
    VecF best = order_.of(choice.value);
    for (std::ptrdiff_t r = 0; r < p_.r; ++r)
      for (std::ptrdiff_t s = r == 0; s < p_.s; ++s) {
        const VecF v = load(in + (r * p_.w + s) * p_.images), code = order_.of(v);
        const auto take = is_greater_or_nan(code, best);
        best = select(take, code, best);
        choice = {select(take, v, choice.value),
                  select(take, first_ + VecF(static_cast<float>(r * p_.w + s)), choice.place)};
      }
    return choice;
  }

 private:
  const QuantPool& p_;
  const CodeOrder& order_;
  VecF first_;
};

// Windows of 2 x 2, with a shorter way to the choice where no element is NaN.
template <class FourCodes>
class WindowOfFour {
 public:
  using Codes = FourCodes;

  WindowOfFour(const QuantPool& p, const Codes& codes, float first)
      : any_(p, codes.order(), first),
        codes_(codes),
        next_{p.images, p.w * p.images, (p.w + 1) * p.images},
        place_{VecF(first), VecF(first + 1), VecF(first + static_cast<float>(p.w)),
               VecF(first + static_cast<float>(p.w + 1))} {}

  Choice choose(const float* in) const {
    const VecF v[4] = {load(in), load(in + next_[0]), load(in + next_[1]), load(in + next_[2])};
    if (any(is_nan((v[0] + v[1]) + (v[2] + v[3])))) return any_.choose(in);
    const HasLargest has_largest = codes_.has_largest(v);
    const auto first_of = [&](const VecF(&four)[4]) {
      const VecF last_two = select(has_largest.of[2], four[2], four[3]);
      return select(has_largest.of[0], four[0], select(has_largest.of[1], four[1], last_two));
    };
    return {first_of(v), first_of(place_)};
  }

 private:
  AnyWindow any_;
  const Codes& codes_;
  std::ptrdiff_t next_[3];
  VecF place_[4];
};

template <class Window>
void pool_windows(const QuantPool& p, const float* x, float* y, float* slope, float* source,
                  const FakeQuantParams& params) {
  const typename Window::Codes codes(params);
  const RegularFormulas formulas(params);
  for (std::ptrdiff_t row = 0; row < p.oh; ++row) {
    for (std::ptrdiff_t column = 0; column < p.ow; ++column) {
      const std::ptrdiff_t corner = row * p.stride_h * p.w + column * p.stride_w;
      const std::ptrdiff_t out = (row * p.ow + column) * p.images;
      const Window window(p, codes, static_cast<float>(corner + 1));
      for (std::ptrdiff_t i = 0; i < p.images; i += kVec) {
        const Choice choice = window.choose(x + corner * p.images + i);
        const auto levels = formulas.levels_of(choice.value);
        store(y + out + i, formulas.value(levels));
        if (slope == nullptr) continue;
        const auto of_one = formulas.backward(levels, choice.value, VecF(1.0f));
        store(slope + out + i, of_one.scale);
        store(source + out + i, choice.place * (of_one.x - of_one.outside));
      }
    }
  }
}

void forward(const QuantPool& p, const float* x, float* y, float* slope, float* source,
             const FakeQuantParams& params) noexcept {
  if (p.r != 2 || p.s != 2) return pool_windows<AnyWindow>(p, x, y, slope, source, params);
  if (FewCodes::fit(params)) return pool_windows<WindowOfFour<FewCodes>>(p, x, y, slope, source, params);
  pool_windows<WindowOfFour<ManyCodes>>(p, x, y, slope, source, params);
}

FakeQuantSums backward(const QuantPool& p, const float* grad_y, const float* slope, const float* source,
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

extern const QuantPoolKernels quant_pool_kernels = {forward, backward};

}  // namespace nibble::quant::NIBBLE_TIER
