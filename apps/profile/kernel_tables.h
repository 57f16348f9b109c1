#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "apps/profile/kernel_layers.h"
#include "apps/profile/kernel_measurements.h"

namespace nibble {

// All that `nibble profile kernels` has measured.
struct KernelResults {
  KernelLimits limits;
  CacheSizes caches;
  double cold_bytes;  // that cold weights were passed through; 0: none
  std::vector<KernelReport> reports;
  std::vector<LayerSpeed> layers;
};

inline constexpr std::int64_t kLayerBatches[] = {1, 64};

std::string bytes_text(double bytes);  // "132 KiB"

void print_limits(const KernelResults& results);
void print_kernels(const KernelReport& report);
// Why which widths are multiplied by which family of kernels.
void print_families(const KernelResults& results);
// From which layer size on fewer bits are faster.
void print_crossovers(const KernelResults& results);

// The same, with every figure. Throws std::system_error naming the path when it cannot be written.
void write_kernels_json(const std::filesystem::path& path, const KernelResults& results);

}  // namespace nibble
