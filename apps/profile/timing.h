#pragma once

#include <algorithm>
#include <chrono>

#include "apps/terminal/interrupt.h"

namespace nibble {

// Programs that disturb come and go: subjects of a comparison take turns, so often, and each keeps its best.
inline constexpr int kTurns = 8;

// Seconds that a call of f takes, measured for `budget` seconds: the fastest of several batches, as other
// programs can only disturb. The first call warms caches and is not counted. Throws Interrupted.
template <class F>
double seconds_per_call(double budget, F&& f) {
  using Clock = std::chrono::steady_clock;
  constexpr double kBatch = 1e-3;  // so long that reading the clock does not count
  const auto time = [&f](long calls) {
    const auto start = Clock::now();
    for (long call = 0; call < calls; ++call) f();
    return std::chrono::duration<double>(Clock::now() - start).count();
  };
  stop_if_interrupted();
  const auto begin = Clock::now();
  f();
  double best = std::max(time(1), 1e-9);
  const auto calls = std::max(1L, static_cast<long>(std::min(kBatch, budget) / best));
  do {
    best = std::min(best, time(calls) / static_cast<double>(calls));
  } while (std::chrono::duration<double>(Clock::now() - begin).count() < budget);
  return best;
}

}  // namespace nibble
