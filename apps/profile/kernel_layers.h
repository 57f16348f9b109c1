#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "apps/profile/kernel_operands.h"

namespace nibble {

// A layer of size x size weights at some batch, hot.
struct LayerSpeed {
  std::int64_t size, batch;
  int weight_bits, act_bits;
  double seconds;

  double operations_per_second() const { return KernelShape{batch, size, size}.operations() / seconds; }
};

// Weights of 8, 4, 2 and 1 bits with activations of 8, of 1 bit with 1, and float32.
std::vector<LayerSpeed> measure_layers(std::span<const std::int64_t> sizes,
                                       std::span<const std::int64_t> batches, double budget);

struct LayerCurve {
  std::vector<std::int64_t> sizes;
  std::vector<double> speedup;  // over weights of 8 bits, activations of 8

  double at(std::int64_t size) const;  // throws std::out_of_range
  // The size from which on weights are faster than those of 8 bits by a tenth or more.
  std::optional<std::int64_t> crossover() const;
};
LayerCurve curve_of(std::span<const LayerSpeed> layers, std::int64_t batch, int weight_bits, int act_bits);

}  // namespace nibble
