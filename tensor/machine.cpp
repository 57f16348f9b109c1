#include "tensor/machine.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "tensor/check.h"
#include "tensor/factory.h"
#include "tensor/kernels/probe.h"
#include "tensor/parallel.h"

namespace nibble {
namespace {

std::atomic<float> unused;  // where results go, so that they are computed

constexpr std::int64_t kRuns = 12;

// Seconds of the fastest of some calls f(run); the first one warms caches and clock.
template <class F>
double fastest(std::int64_t runs, F f) {
  using Clock = std::chrono::steady_clock;
  double best = 1e30;
  for (std::int64_t run = 0; run < runs; ++run) {
    const auto start = Clock::now();
    f(run);
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

}  // namespace

double measure_peak_flops() {
  constexpr std::size_t kRounds = 200'000;
  const ProbeKernels& kernels = probe_kernels();
  const int threads = num_threads();
  const double seconds = fastest(kRuns, [&](std::int64_t) {
    parallel_for(threads, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) unused = kernels.multiply_add(kRounds);
    });
  });
  return static_cast<double>(kernels.flops_per_round * kRounds) * threads / seconds;
}

double measure_read_bandwidth(std::size_t bytes) {
  constexpr std::size_t kLeast = 4096, kBytesPerRun = std::size_t{1} << 24;
  NIBBLE_CHECK(bytes >= kLeast, "measure_read_bandwidth: ", bytes, " bytes, expected at least ", kLeast);
  const ProbeKernels& kernels = probe_kernels();
  const int threads = num_threads();
  const std::size_t share = bytes / sizeof(float) / static_cast<std::size_t>(threads);
  // A run is short, so that some are not disturbed: several passes, or a slice of one.
  const std::size_t passes = std::max<std::size_t>(1, kBytesPerRun / bytes);
  const std::size_t slices = std::max<std::size_t>(1, bytes / kBytesPerRun), slice = share / slices;
  const Tensor memory = ones({static_cast<std::int64_t>(share) * threads});
  const float* const x = memory.data<float>();
  const auto runs = std::max(kRuns, static_cast<std::int64_t>(2 * slices));
  const double seconds = fastest(runs, [&](std::int64_t run) {
    const float* const from = x + static_cast<std::size_t>(run) % slices * slice;
    parallel_for(threads, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        for (std::size_t pass = 0; pass < passes; ++pass)
          unused = kernels.read(from + static_cast<std::size_t>(i) * share, slice);
    });
  });
  return static_cast<double>(slice * sizeof(float)) * threads * static_cast<double>(passes) / seconds;
}

}  // namespace nibble
