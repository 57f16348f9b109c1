#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace nibble {

// What num_threads() threads of this machine reach at best, measured: what operations are held against.

struct IntegerPeaks {  // operations per second, 2 per multiply-add, of the active tier
  double bytes;        // any bytes
  double codes;        // weights of fewer than 8 bits
  double bits;         // of single bits
};
IntegerPeaks measure_integer_peaks();

class ReadBandwidth {
 public:
  explicit ReadBandwidth(std::span<const std::size_t> footprints);  // ascending

  // Bytes per second at a footprint: between two that were measured by the logarithm of the footprint, beyond
  // them that of the nearest.
  double of(double bytes) const;
  // footprint and bytes per second, caches first
  const std::vector<std::pair<double, double>>& table() const { return table_; }

 private:
  std::vector<std::pair<double, double>> table_;
};

// Of the operations and of the bytes per second that are possible, what an operation reached.
struct Share {
  double operations, bytes;

  const char* bound() const;  // what the operation waits for: "compute", "memory" or "latency"
};

struct CacheSizes {
  std::size_t l1, l2, l3;  // 0: not known

  const char* holding(double bytes) const;  // "L1", "L2", "L3" or "memory"
};
CacheSizes cache_sizes();

}  // namespace nibble
