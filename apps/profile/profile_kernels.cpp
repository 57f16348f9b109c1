#include "apps/profile/profile_kernels.h"

#include <fmt/core.h>

#include <algorithm>
#include <filesystem>

#include "apps/profile/kernel_figures.h"
#include "apps/profile/kernel_reasons.h"
#include "apps/terminal/output_file.h"
#include "tensor/machine.h"
#include "tensor/parallel.h"

namespace nibble {
namespace {

// A matrix times one vector, a few rows, many rows; the lab's linear layer and second convolution at
// batch 64.
const std::vector<std::string> kShapes = {"1x4096x4096", "16x1024x1024", "256x1024x1024", "64x10x784",
                                          "12544x16x72"};
const std::vector<std::string> kQuickShapes = {"1x256x256", "16x128x128", "64x10x784"};
constexpr std::int64_t kLayerSizes[] = {64, 128, 256, 512, 1024, 2048, 4096};
constexpr std::size_t kQuickLayerSizes = 3;  // the first of them
constexpr double kQuickBudget = 0.001;

std::vector<KernelShape> shapes_of(const ProfileKernelsOptions& options) {
  std::vector<std::string> texts = options.shapes;
  if (!options.why.empty())
    texts.push_back(options.why);
  else if (texts.empty())
    texts = options.quick ? kQuickShapes : kShapes;
  std::vector<KernelShape> shapes;
  for (const std::string& text : texts) {
    const KernelShape shape = parse_kernel_shape(text);
    if (std::find(shapes.begin(), shapes.end(), shape) == shapes.end()) shapes.push_back(shape);
  }
  return shapes;
}

KernelLimits measure_limits(double cold_bytes) {
  constexpr std::size_t kMiB = std::size_t{1} << 20;
  std::vector<std::size_t> footprints = {kMiB / 32, kMiB / 2, kMiB, 7 * kMiB / 4, 4 * kMiB, 20 * kMiB};
  if (cold_bytes > 0)
    for (const std::size_t bytes : {80 * kMiB, static_cast<std::size_t>(cold_bytes)})
      if (bytes > footprints.back()) footprints.push_back(bytes);
  return {measure_peak_flops(), measure_integer_peaks(), ReadBandwidth(footprints)};
}

}  // namespace

void profile_kernels(const ProfileKernelsOptions& options) {
  const std::vector<KernelShape> shapes = shapes_of(options);
  const std::filesystem::path out = options.out;
  if (!options.out.empty()) {
    make_output_folder(out);
    for (const char* name : {kRooflineFigure, kLayersFigure, kBatchFigure}) check_writable(out / name);
  }
  check_writable(options.json);  // which may lie in the folder
  set_num_threads(options.threads);

  MeasureOptions measure;
  if (options.quick)
    measure.budget = kQuickBudget;
  else
    measure.cold_bytes = bytes_beyond_caches();
  KernelResults results{measure_limits(measure.cold_bytes), cache_sizes(), measure.cold_bytes, {}, {}};
  print_limits(results);
  for (const KernelShape& shape : shapes) {
    results.reports.push_back(measure_kernels(shape, results.limits, measure));
    print_kernels(results.reports.back());
    std::fflush(stdout);
  }
  print_families(results);
  if (!options.out.empty() || !options.json.empty()) {
    const std::span<const std::int64_t> sizes(kLayerSizes);
    results.layers =
        measure_layers(options.quick ? sizes.first(kQuickLayerSizes) : sizes, kLayerBatches, measure.budget);
    fmt::print("\n");
    print_crossovers(results);
  }
  if (!options.why.empty()) {
    fmt::print("\n");
    for (const KernelReport& report : results.reports)
      if (report.shape == parse_kernel_shape(options.why))
        for (const std::string& sentence : explain_kernels(report, results)) fmt::print("{}\n", sentence);
  }
  if (!options.json.empty()) write_kernels_json(options.json, results);
  if (!options.out.empty()) draw_kernels(out, results);
}

}  // namespace nibble
