#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/kernel_operands.h"
#include "apps/machine_limits.h"

namespace nibble {

struct KernelTiming {
  double seconds;
  Share share;  // of the peak of this kind of product; of the read bandwidth at this footprint
};

// A product's time taken apart. All with hot operands, on one thread.
struct KernelParts {
  double rows;  // activations: unpacked to bytes, put into the kernel's order and added up
  // Weights to operands of the products. expanded: one pass of expand_panel over all of them. Else it happens
  // in registers: what the innermost kernel takes longer than with 8 bits, both out of L1.
  double unpack;
  bool expanded;
  // The innermost kernel alone on weights that are in L1, in the form it is given.
  double kernel;
};

struct KernelCell {
  int weight_bits, act_bits;          // kFloatBits: float32
  std::string family, family_reason;  // "dot", "bit-serial" or "sgemm"
  std::string form, form_reason;      // of weights: "packed", "bytes" or "words"; "float32"
  std::int64_t lanes;                 // columns of a panel; float32: 1
  double weight_bytes, bytes;         // of the weights; with activations and results
  double peak;                        // operations per second, of this kind of product
  KernelTiming hot;
  std::optional<KernelTiming> cold;  // weights from memory
  std::optional<KernelParts> parts;  // of integer products
};

struct KernelReport {
  KernelShape shape;
  std::vector<KernelCell> cells;  // float32 first, then weights of 8, 4, 2 and 1 bits, each x 8, 4, 2, 1

  const KernelCell& at(int weight_bits, int act_bits) const;  // throws std::out_of_range
};

struct KernelLimits {
  double peak_flops;
  IntegerPeaks peaks;
  ReadBandwidth bandwidth;
};

struct MeasureOptions {
  double budget = 0.05;        // seconds for a figure
  double cold_bytes = 0;       // of weights that are passed through in turn; 0: hot only
  double cold_from = 1 << 20;  // weights of so many elements are measured cold as well
};

// Twice the last-level cache, at most 1 GiB.
double bytes_beyond_caches();

KernelReport measure_kernels(const KernelShape& shape, const KernelLimits& limits,
                             const MeasureOptions& options);

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
