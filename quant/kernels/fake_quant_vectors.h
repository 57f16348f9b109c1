#pragma once

// What the kernels of fake quantization share: the formulas without a division, and sums. For files compiled
// by nibble_kernels() alone.

#include <cstddef>

#include "quant/kernels/fake_quant_formulas.h"
#include "tensor/simd/vec.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

using namespace nibble::NIBBLE_TIER;

// Partial sums live in as many lanes on every tier, so that they come out the same.
constexpr std::size_t kSumLanes = 16;
constexpr std::size_t kParts = kSumLanes / kLanes;

// FakeQuantFormulas for regular parameters, without division, and for a clamp without gradients outside. Far
// outside the codes x is limited, which changes nothing but that quotients stay small. Loops take formulas by
// value: through a reference they would be read anew after every store.
class RegularFormulas : public FakeQuantFormulas<VecF> {
 public:
  explicit RegularFormulas(const FakeQuantParams& p)
      : FakeQuantFormulas(p),
        divider_(p.scale),
        least_(p.relu ? 0.0f : -0x1p22f * p.scale),
        largest_(0x1p22f * p.scale),
        passes_above_(p.relu ? 0.0f : -__builtin_inff()) {}

  Levels levels_of(VecF x) const {
    const VecF quotient = divider_.quotient(smaller_or_second(largest_, larger_or_second(least_, x)));
    const VecF code = nearbyint(quotient + zero_point);
    return {quotient, code, smaller_or_second(hi, larger_or_second(lo, code))};
  }
  VecF forward(VecF x) const { return value(levels_of(x)); }

  MaskF is_inside(const Levels& q) const { return q.code == q.level; }
  // What relu lets through of a gradient.
  VecF through_relu(VecF x, VecF grad) const { return blend(x > passes_above_, grad, zero); }
  // dy / dscale.
  VecF slope(const Levels& q) const { return q.level - zero_point - blend(is_inside(q), q.quotient, zero); }
  Gradients backward(const Levels& q, VecF x, VecF grad_y) const {
    const MaskF inside = is_inside(q);
    return {blend(inside, through_relu(x, grad_y), zero), grad_y * slope(q), blend(inside, zero, grad_y)};
  }

 private:
  Divider divider_;
  VecF least_, largest_, passes_above_;
};

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

}  // namespace
}  // namespace nibble::quant::NIBBLE_TIER
