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

// How a number is found to have the largest code of its window: what it has to come up to is `bound` of the
// largest number, which has the largest code.
class ManyCodes {
 public:
  explicit ManyCodes(const FakeQuantParams& p) : order_(p) {}

  VecF bound(VecF largest) const { return order_.of(largest); }
  MaskF reaches(VecF x, VecF bound) const { return order_.of(x) == bound; }

 private:
  CodeOrder order_;
};

// Of at most 16 codes, where the least number of each fits into registers: one quotient does for a window.
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

  VecF bound(VecF largest) const { return lookup_16(least_, bits_of(order_.of(largest)) - first_); }
  MaskF reaches(VecF x, VecF bound) const { return x >= bound; }

 private:
  static constexpr int kAway = 9;
  // The least code that occurs.
  static float first(const FakeQuantParams& p) { return p.relu ? p.zero_point : p.lo; }

  CodeOrder order_;
  VecI first_;
  alignas(64) float least_[16];
};

// A row of y: its first window's first element; and where to put of each window the first of the elements
// with the largest code, and (or null) 1 + its position in the plane.
struct Row {
  const float* x;
  float first_place;
  float *value, *place;
};

// Calls f(first element, its place, offset into the row of y) for every vector of windows.
template <class F>
[[gnu::always_inline]] inline void for_each_window(const QuantPool& p, const Row& row, F f) {
  for (std::ptrdiff_t column = 0; column < p.ow; ++column) {
    const std::ptrdiff_t corner = column * p.stride_w, out = column * p.images;
    const VecF place(row.first_place + static_cast<float>(corner));
    for (std::ptrdiff_t i = 0; i < p.images; i += kVec) f(row.x + corner * p.images + i, place, out + i);
  }
}

// Windows of any size, p.r lines of p.s elements.
void choose_of_any(QuantPool p, Row row, CodeOrder order) {
  for_each_window(p, row, [&](const float* in, VecF first_place, std::ptrdiff_t out) {
    VecF value = load(in), place = first_place, best = order.of(value);
    for (std::ptrdiff_t r = 0; r < p.r; ++r)
      for (std::ptrdiff_t s = r == 0; s < p.s; ++s) {
        const std::ptrdiff_t offset = r * p.w + s;
        const VecF v = load(in + offset * p.images), code = order.of(v);
        const auto take = is_greater_or_nan(code, best);
        best = select(take, code, best);
        value = select(take, v, value);
        place = select(take, first_place + VecF(static_cast<float>(offset)), place);
      }
    store(row.value + out, value);
    if (row.place != nullptr) store(row.place + out, place);
  });
}

// Windows of 2 x 2; false, with nothing of use written, if there is a NaN (or infinities of both signs). In
// passes over the row, the steps of one window being too long a chain for the processor to begin the next in
// the meantime.
template <class Codes>
bool choose_of_four(QuantPool p, Row row, const Codes& codes) {
  const std::ptrdiff_t down = p.w * p.images;
  const auto for_each_four = [&](auto f) {
    for_each_window(p, row, [&](const float* in, VecF place, std::ptrdiff_t out) {
      const VecF v[4] = {load(in), load(in + p.images), load(in + down), load(in + down + p.images)};
      f(v, place, out);
    });
  };
  VecF sum(0.0f);
  for_each_four([&](const VecF(&v)[4], VecF, std::ptrdiff_t out) {
    store(row.value + out, larger_or_second(larger_or_second(v[0], v[1]), larger_or_second(v[2], v[3])));
    sum = sum + ((v[0] + v[1]) + (v[2] + v[3]));
  });
  if (any(is_nan(sum))) return false;
  if (row.place == nullptr) return true;  // the largest number has the largest code
  for (std::ptrdiff_t i = 0; i < p.ow * p.images; i += kVec)
    store(row.value + i, codes.bound(load(row.value + i)));
  const VecF below(static_cast<float>(p.w)), one(1.0f);
  for_each_four([&](const VecF(&v)[4], VecF first, std::ptrdiff_t out) {
    const VecF bound = load(row.value + out);
    const MaskF reaches[3] = {codes.reaches(v[0], bound), codes.reaches(v[1], bound),
                              codes.reaches(v[2], bound)};
    const auto choice = [&](VecF a, VecF b, VecF c, VecF d) {
      return blend(reaches[0], a, blend(reaches[1], b, blend(reaches[2], c, d)));
    };
    store(row.value + out, choice(v[0], v[1], v[2], v[3]));
    store(row.place + out, choice(first, first + one, first + below, first + below + one));
  });
  return true;
}

// What becomes of the chosen elements of a row: y, and what the backward pass keeps.
void quantize_row(std::ptrdiff_t n, float* y, float* slope, float* source, RegularFormulas formulas) {
  if (slope == nullptr) {
    for (std::ptrdiff_t i = 0; i < n; i += kVec) store(y + i, formulas.forward(load(y + i)));
    return;
  }
  for (std::ptrdiff_t i = 0; i < n; i += kVec) {
    const VecF value = load(y + i), place = load(source + i);
    const auto levels = formulas.levels_of(value);
    store(y + i, formulas.value(levels));
    store(slope + i, formulas.slope(levels));
    store(source + i,
          blend(formulas.is_inside(levels), formulas.through_relu(value, place), VecF(0.0f) - place));
  }
}

void forward(const QuantPool& p, const float* x, float* y, float* slope, float* source,
             const FakeQuantParams& params) noexcept {
  const CodeOrder order(params);
  const RegularFormulas formulas(params);
  const auto rows = [&](auto choose) {
    const std::ptrdiff_t n = p.ow * p.images;
    for (std::ptrdiff_t i = 0; i < p.oh; ++i) {
      const std::ptrdiff_t corner = i * p.stride_h * p.w, out = i * n;
      const auto at = [=](float* plane) { return plane == nullptr ? plane : plane + out; };
      const Row row{x + corner * p.images, static_cast<float>(corner + 1), y + out, at(source)};
      if (!choose(row)) choose_of_any(p, row, order);
      quantize_row(n, y + out, at(slope), at(source), formulas);
    }
  };
  if (p.r != 2 || p.s != 2) return rows([](const Row&) { return false; });
  if (FewCodes::fit(params))
    return rows([&, codes = FewCodes(params)](const Row& row) { return choose_of_four(p, row, codes); });
  rows([&, codes = ManyCodes(params)](const Row& row) { return choose_of_four(p, row, codes); });
}

// Lines [from, to) of a plane, columns [first, last).
void clear(const QuantPool& p, float* plane, std::ptrdiff_t from, std::ptrdiff_t to, std::ptrdiff_t first,
           std::ptrdiff_t last) {
  const VecF zero(0.0f);
  for (std::ptrdiff_t line = from; line < to; ++line)
    for (std::ptrdiff_t at = (line * p.w + first) * p.images; at < (line * p.w + last) * p.images; at += kVec)
      store(plane + at, zero);
}

// What no window covers of the lines from this row's first to the next one's.
void clear_between_windows(const QuantPool& p, std::ptrdiff_t row, float* plane) {
  const std::ptrdiff_t top = row * p.stride_h, bottom = row + 1 < p.oh ? top + p.stride_h : p.h;
  clear(p, plane, top + p.r, bottom, 0, p.w);
  for (std::ptrdiff_t column = 0; column < p.ow; ++column) {
    const std::ptrdiff_t left = column * p.stride_w, right = column + 1 < p.ow ? left + p.stride_w : p.w;
    clear(p, plane, top, top + p.r, left + p.s, right);
  }
}

struct AnyWindow {
  std::ptrdiff_t lines, columns;
  std::ptrdiff_t r() const { return lines; }
  std::ptrdiff_t s() const { return columns; }
};
struct TwoByTwo {
  static constexpr std::ptrdiff_t r() { return 2; }
  static constexpr std::ptrdiff_t s() { return 2; }
};

// The size of the window comes as a type, so that the compiler knows the usual one.
template <class Window>
FakeQuantSums backward_row(QuantPool p, std::ptrdiff_t row, const float* grad_y, const float* slope,
                           const float* source, float* grad_x, float scale, Window window) {
  Sums sums;
  const VecF zero(0.0f);
  for (std::ptrdiff_t column = 0; column < p.ow; ++column) {
    const std::ptrdiff_t corner = row * p.stride_h * p.w + column * p.stride_w;
    float* const out = grad_x == nullptr ? grad_x : grad_x + corner * p.images;
    for (std::ptrdiff_t i = 0; i < p.images; i += kRun, grad_y += kRun, slope += kRun, source += kRun)
      unroll(std::make_index_sequence<kParts>{}, [&](auto j) {
        const std::size_t lane = j * kLanes;
        const VecF place = load(source + lane), grad = load(grad_y + lane);
        sums.scale[j] = sums.scale[j] + blend(place == zero, zero, grad) * load(slope + lane);
        sums.outside[j] = sums.outside[j] + blend(place < zero, grad, zero);
        if (grad_x == nullptr) return;
        for (std::ptrdiff_t r = 0; r < window.r(); ++r)
          for (std::ptrdiff_t s = 0; s < window.s(); ++s) {
            const std::ptrdiff_t at = r * p.w + s;
            const VecF here(static_cast<float>(corner + at + 1));
            store(out + at * p.images + i + lane, blend(place == here, grad, zero));
          }
      });
  }
  return sums.total(scale);
}

FakeQuantSums backward(const QuantPool& p, std::ptrdiff_t row, const float* grad_y, const float* slope,
                       const float* source, float* grad_x, float scale) noexcept {
  if (grad_x != nullptr) clear_between_windows(p, row, grad_x);
  if (p.r == 2 && p.s == 2) return backward_row(p, row, grad_y, slope, source, grad_x, scale, TwoByTwo{});
  return backward_row(p, row, grad_y, slope, source, grad_x, scale, AnyWindow{p.r, p.s});
}

}  // namespace

extern const QuantPoolKernels quant_pool_kernels = {forward, backward};

}  // namespace nibble::quant::NIBBLE_TIER
