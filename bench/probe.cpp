#include "tensor/kernels/probe.h"

#include <string>

#include "bench/measure.h"
#include "tensor/factory.h"

namespace nibble::bench {
namespace {

template <class F>
void on_every_thread(F f) {
  parallel_for(num_threads(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) f(i);
  });
}

std::function<void()> make_multiply_add(std::size_t rounds) {
  return [=] {
    on_every_thread([=](std::int64_t) { benchmark::DoNotOptimize(probe_kernels().multiply_add(rounds)); });
  };
}

std::function<void()> make_read(std::int64_t bytes) {
  const std::int64_t share = bytes / 4 / num_threads();
  const Tensor memory = ones({share * num_threads()});
  return [=] {
    on_every_thread([=](std::int64_t i) {
      benchmark::DoNotOptimize(
          probe_kernels().read(memory.data<float>() + i * share, static_cast<std::size_t>(share)));
    });
  };
}

}  // namespace

// What the machine can do: multiply-adds in registers; reading a footprint of each level of the memory.
void register_probe() {
  constexpr std::size_t kRounds = 100'000;
  for (int threads : {1, 2}) {
    add("probe/fma", threads, "GFLOPS",
        1e-9 * static_cast<double>(probe_kernels().flops_per_round * kRounds) * threads,
        [] { return make_multiply_add(kRounds); });
    for (std::int64_t bytes :
         {std::int64_t{1} << 15, std::int64_t{1} << 19, std::int64_t{1} << 23, std::int64_t{1} << 28})
      add("probe/read/bytes:" + std::to_string(bytes), threads, "GB/s", 1e-9 * static_cast<double>(bytes),
          [bytes] { return make_read(bytes); });
  }
}

}  // namespace nibble::bench
