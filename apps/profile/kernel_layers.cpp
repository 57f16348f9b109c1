#include "apps/profile/kernel_layers.h"

#include <algorithm>
#include <array>

#include "apps/profile/timing.h"

namespace nibble {

std::vector<LayerSpeed> measure_layers(std::span<const std::int64_t> sizes,
                                       std::span<const std::int64_t> batches, double budget) {
  constexpr std::array<std::pair<int, int>, 5> kWidthPairs = {{{8, 8}, {4, 8}, {2, 8}, {1, 8}, {1, 1}}};
  struct Layer {
    std::vector<KernelOperands> operands;  // of every batch
    PackedB floats;
    std::vector<quant::PackedMatrix> weights;  // of kWidthPairs
  };
  std::vector<Layer> layers;
  std::vector<LayerSpeed> speeds;
  for (const std::int64_t size : sizes) {
    std::vector<KernelOperands> operands;
    for (const std::int64_t batch : batches) operands.emplace_back(KernelShape{batch, size, size});
    std::vector<quant::PackedMatrix> weights;
    weights.reserve(kWidthPairs.size());
    for (const auto& [weight_bits, act_bits] : kWidthPairs)
      weights.push_back(operands.front().weights(weight_bits, act_bits));
    PackedB floats = operands.front().float_weights();
    layers.push_back({std::move(operands), std::move(floats), std::move(weights)});
  }
  for (int turn = 0; turn < kTurns; ++turn) {
    std::size_t at = 0;
    const auto measure = [&](const KernelShape& shape, int weight_bits, int act_bits, auto multiply) {
      const double seconds = seconds_per_call(budget / kTurns, multiply);
      if (turn == 0) speeds.push_back({shape.n, shape.m, weight_bits, act_bits, seconds});
      speeds[at].seconds = std::min(speeds[at].seconds, seconds);
      ++at;
    };
    for (Layer& layer : layers)
      for (KernelOperands& operands : layer.operands) {
        measure(operands.shape(), kFloatBits, kFloatBits, [&] { operands.multiply(layer.floats); });
        for (std::size_t i = 0; i < kWidthPairs.size(); ++i) {
          const auto [weight_bits, act_bits] = kWidthPairs[i];
          measure(operands.shape(), weight_bits, act_bits,
                  [&, bits = act_bits] { operands.multiply(layer.weights[i], bits); });
        }
      }
  }
  return speeds;
}

double LayerCurve::at(std::int64_t size) const {
  const auto found = std::find(sizes.begin(), sizes.end(), size);
  return speedup.at(static_cast<std::size_t>(found - sizes.begin()));
}

std::optional<std::int64_t> LayerCurve::crossover() const {
  constexpr double kFaster = 1.1;
  std::optional<std::int64_t> from;
  for (std::size_t i = sizes.size(); i-- > 0 && speedup[i] >= kFaster;) from = sizes[i];
  return from;
}

LayerCurve curve_of(std::span<const LayerSpeed> layers, std::int64_t batch, int weight_bits, int act_bits) {
  LayerCurve curve;
  for (const LayerSpeed& bytes : layers)
    for (const LayerSpeed& layer : layers)
      if (bytes.batch == batch && bytes.weight_bits == 8 && layer.batch == batch &&
          layer.size == bytes.size && layer.weight_bits == weight_bits && layer.act_bits == act_bits) {
        curve.sizes.push_back(layer.size);
        curve.speedup.push_back(bytes.seconds / layer.seconds);
      }
  return curve;
}

}  // namespace nibble
