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

FakeQuantSums backward(const QuantPool& pool, const float* grad_y, const float* slope, const float* source,
                       float* grad_x, std::ptrdiff_t first, std::ptrdiff_t n, float scale) noexcept {
  const QuantPool p = pool;
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
            const VecF inside = blend(place == here, grad, zero);
            const VecF outside = blend(place == clamped_here, grad, zero);
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
