#pragma once

#include <benchmark/benchmark.h>

#include <cstdint>
#include <functional>
#include <string>

#include "tensor/parallel.h"

namespace nibble::bench {

// One function per kernel family, called by main: names and sizes are plain parts of the registered name.
void register_sgemm();
void register_conv();
void register_pool();
void register_elementwise();
void register_augment();
void register_probe();
void register_qgemm();
void register_train_step();
void register_int_infer();
// Peers, under onednn/ and openblas/, when built with NIBBLE_BENCH_PEERS.
void register_onednn();
void register_onednn_qgemm();
void register_onednn_int_infer();
void register_openblas();

// The sum of kExtremeProducts products of 255 and 127: right is 2,072,640. Where there is no dot instruction
// a faster kernel saturates.
inline constexpr int kExtremeProducts = 64;
std::int32_t nibble_sum_of_extremes();
std::int32_t onednn_sum_of_extremes();

// Registers `name`/threads:T. `make` builds the operands and returns the call to be timed; it runs only when
// the benchmark does. `work` is per call, in `unit` times seconds: GFLOP for GFLOPS, GB for GB/s.
inline void add(const std::string& name, int threads, const char* unit, double work,
                std::function<std::function<void()>()> make) {
  benchmark::RegisterBenchmark(
      (name + "/threads:" + std::to_string(threads)).c_str(), [=](benchmark::State& state) {
        const int before = num_threads();
        set_num_threads(threads);
        const std::function<void()> call = make();
        for (auto _ : state) call();
        state.counters[unit] = benchmark::Counter(work, benchmark::Counter::kIsIterationInvariantRate);
        set_num_threads(before);
      });
}

}  // namespace nibble::bench
