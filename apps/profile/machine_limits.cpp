#include "apps/profile/machine_limits.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>

#include "apps/profile/timing.h"
#include "quant/kernels/int_probe.h"
#include "tensor/machine.h"
#include "tensor/parallel.h"

namespace nibble {
namespace {

// Limits are of an undisturbed machine: every probe has several turns, apart in time.
constexpr int kLimitTurns = 3;

std::atomic<std::int32_t> unused;  // where results go, so that they are computed

double operations_per_second(const quant::IntProbe& probe) {
  constexpr double kBudget = 0.02;
  constexpr std::size_t kRounds = 10'000;
  const int threads = num_threads();
  const double seconds = seconds_per_call(kBudget, [&] {
    parallel_for(threads, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) unused = probe.run(kRounds);
    });
  });
  return static_cast<double>(probe.operations_per_round * kRounds) * threads / seconds;
}

}  // namespace

IntegerPeaks measure_integer_peaks() {
  IntegerPeaks peaks{};
  for (int turn = 0; turn < kLimitTurns; ++turn) {
    peaks.bytes = std::max(peaks.bytes, operations_per_second(quant::byte_probe()));
    peaks.codes = std::max(peaks.codes, operations_per_second(quant::code_probe()));
    peaks.bits = std::max(peaks.bits, operations_per_second(quant::bit_probe()));
  }
  return peaks;
}

ReadBandwidth::ReadBandwidth(std::span<const std::size_t> footprints) {
  for (const std::size_t bytes : footprints) table_.emplace_back(static_cast<double>(bytes), 0);
  for (int turn = 0; turn < kLimitTurns; ++turn)
    for (std::size_t i = 0; i < footprints.size(); ++i)
      table_[i].second = std::max(table_[i].second, measure_read_bandwidth(footprints[i]));
}

double ReadBandwidth::of(double bytes) const {
  if (bytes <= table_.front().first) return table_.front().second;
  for (std::size_t i = 1; i < table_.size(); ++i) {
    const auto& [less, faster] = table_[i - 1];
    const auto& [more, slower] = table_[i];
    if (bytes <= more) return faster + (slower - faster) * std::log(bytes / less) / std::log(more / less);
  }
  return table_.back().second;
}

const char* Share::bound() const {
  // Below a quarter of both, neither is what the operation waits for.
  if (std::max(operations, bytes) < 0.25) return "latency";
  return operations >= bytes ? "compute" : "memory";
}

const char* CacheSizes::holding(double bytes) const {
  if (bytes <= static_cast<double>(l1)) return "L1";
  if (bytes <= static_cast<double>(l2)) return "L2";
  return bytes <= static_cast<double>(l3) ? "L3" : "memory";
}

CacheSizes cache_sizes() {
  const auto size = [](int name) {
    const long bytes = sysconf(name);
    return bytes > 0 ? static_cast<std::size_t>(bytes) : 0;
  };
  return {size(_SC_LEVEL1_DCACHE_SIZE), size(_SC_LEVEL2_CACHE_SIZE), size(_SC_LEVEL3_CACHE_SIZE)};
}

}  // namespace nibble
