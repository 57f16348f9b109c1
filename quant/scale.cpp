#include "quant/scale.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <span>

#include "autograd/node.h"
#include "quant/qparams.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/kernels/reduce.h"
#include "tensor/reduce.h"

namespace nibble::quant {
namespace {

template <class F>
Tensor map(const Tensor& x, F f) {
  Tensor y = x.clone();
  for (float& value : y.mutable_values<float>()) value = f(value);
  return y;
}

struct Ties {
  std::int64_t first, count;
};

// The elements of magnitude m, the largest. Blocks without one are passed over at the speed of a maximum.
Ties largest_in_magnitude(std::span<const float> x, float m) {
  constexpr std::size_t kBlock = 256;
  Ties ties{-1, 0};
  for (std::size_t begin = 0; begin < x.size(); begin += kBlock) {
    const std::span<const float> block = x.subspan(begin, std::min(kBlock, x.size() - begin));
    if (reduce_kernels().abs_max(block.data(), block.size()) < m) continue;
    for (std::size_t i = 0; i < block.size(); ++i)
      if (std::fabs(block[i]) == m && ties.count++ == 0) ties.first = static_cast<std::int64_t>(begin + i);
  }
  return ties;
}

}  // namespace

float round_up_to_power_of_two(float x) {
  const auto log2 = static_cast<float>(std::log2(static_cast<double>(x)));
  return static_cast<float>(std::exp2(std::ceil(log2)));
}

Variable at_least_scaling_min(const Variable& x) {
  const auto is_less = [](float v) { return v < kScalingMin; };
  const Tensor values = x.value().contiguous();
  const std::span<const float> all = values.values<float>();
  if (std::none_of(all.begin(), all.end(), is_less)) return x;
  const Tensor y = map(values, [=](float v) { return is_less(v) ? kScalingMin : v; });
  return make_op("at_least_scaling_min", y, {x},
                 [](const Tensor& grad, const Needs&) -> Grads { return {grad}; });
}

Variable abs_max(const Variable& w) {
  const Tensor m = abs_max(w.value());
  return make_op("abs_max", m, {w},
                 [w = SavedTensor(w.value()), m = static_cast<float>(m.item())](const Tensor& grad,
                                                                                const Needs&) -> Grads {
                   const Tensor source = w.get().contiguous();
                   const std::span<const float> x = source.values<float>();
                   const auto sign = [](float v) { return static_cast<float>((v > 0) - (v < 0)); };
                   const auto upstream = static_cast<float>(grad.item());
                   const auto [first, count] = largest_in_magnitude(x, m);
                   if (count == 1)
                     return {ElementGrad{first, sign(x[static_cast<std::size_t>(first)]) * upstream}};
                   // Shared evenly; nobody has a part in NaN, and all of it comes to NaN.
                   const float part = upstream / static_cast<float>(count);
                   Tensor result = empty(source.shape());
                   std::transform(x.begin(), x.end(), result.mutable_data<float>(),
                                  [=](float v) { return (std::fabs(v) == m ? sign(v) : 0.0f) * part; });
                   return {result};
                 });
}

Variable abs_max_per_channel(const Variable& w) {
  const Tensor rows = abs(w.value()).reshape({w.size(0), -1});
  const MaxResult result = max(rows, 1, true);
  const Shape shape = Shape::filled(w.value().rank(), 1).erased(0).inserted(0, w.size(0));
  return make_op(
      "abs_max_per_channel", result.values.reshape(shape), {w},
      [w = SavedTensor(w.value()), indices = result.indices](const Tensor& grad, const Needs&) -> Grads {
        const Tensor source = w.get().contiguous();
        const std::int64_t channels = source.size(0), row = source.numel() / channels;
        Tensor result = zeros(source.shape());
        const Tensor upstream = grad.contiguous();
        for (std::int64_t k = 0; k < channels; ++k) {
          const std::int64_t at = k * row + indices.data<std::int64_t>()[k];
          const float value = source.data<float>()[at], g = upstream.data<float>()[k];
          result.mutable_data<float>()[at] = value > 0 ? g : value < 0 ? -g : 0;
        }
        return {result};
      });
}

Variable float_scale(const Variable& statistic, double divisor) {
  const auto divided = [by = static_cast<float>(divisor)](const Tensor& x) {
    return map(x, [=](float v) { return v / by; });
  };
  return make_op("float_scale", divided(statistic.value()), {statistic},
                 [=](const Tensor& grad, const Needs&) -> Grads { return {divided(grad)}; });
}

Variable power_of_two_scale(const Variable& statistic, double divisor) {
  const Tensor scale = map(
      statistic.value(), [=](float v) { return round_up_to_power_of_two(v) / static_cast<float>(divisor); });
  return make_op("power_of_two_scale", scale, {statistic},
                 [scale = SavedTensor(scale), statistic = SavedTensor(statistic.value())](
                     const Tensor& grad, const Needs&) -> Grads {
                   return {mul(grad, div(scale.get(), statistic.get()))};
                 });
}

Variable power_of_two_scale_of_log2(const Variable& log2_value, double divisor) {
  const Tensor scale = map(log2_value.value(), [=](float v) {
    return static_cast<float>(std::exp2(std::ceil(v))) / static_cast<float>(divisor);
  });
  return make_op("power_of_two_scale_of_log2", scale, {log2_value},
                 [scale = SavedTensor(scale)](const Tensor& grad, const Needs&) -> Grads {
                   return {mul(grad, scale.get() * std::numbers::ln2)};
                 });
}

}  // namespace nibble::quant
