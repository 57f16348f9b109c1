#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "apps/profile/kernel_operands.h"
#include "apps/profile/kernel_parts.h"
#include "apps/profile/machine_limits.h"

namespace nibble {

struct KernelTiming {
  double seconds;
  Share share;  // of the peak of this kind of product; of the read bandwidth at this footprint
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

}  // namespace nibble
