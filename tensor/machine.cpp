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

// Seconds of the fastest of some calls; the first one warms caches and clock.
template <class F>
double fastest(F f) {
  using Clock = std::chrono::steady_clock;
  constexpr int kRuns = 12;
  double best = 1e30;
  for (int run = 0; run < kRuns; ++run) {
    const auto start = Clock::now();
    f();
    best = std::min(best, std::chrono::duration<double>(Clock::now() - start).count());
  }
  return best;
}

}  // namespace

double measure_peak_flops() {
  constexpr std::size_t kRounds = 200'000;
  const ProbeKernels& kernels = probe_kernels();
  const int threads = num_threads();
  const double seconds = fastest([&] {
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
  const std::size_t passes = std::max<std::size_t>(1, kBytesPerRun / bytes);
  const Tensor memory = ones({static_cast<std::int64_t>(share) * threads});
  const float* const x = memory.data<float>();
  const double seconds = fastest([&] {
    parallel_for(threads, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i)
        for (std::size_t pass = 0; pass < passes; ++pass)
          unused = kernels.read(x + static_cast<std::size_t>(i) * share, share);
    });
  });
  return static_cast<double>(share * sizeof(float)) * threads * static_cast<double>(passes) / seconds;
}

}  // namespace nibble
