#include <memory>
#include <string>
#include <vector>

#include "apps/training/quantize.h"
#include "bench/measure.h"
#include "quant/integer/engine.h"
#include "quant/integer/lowering.h"
#include "tensor/factory.h"

namespace nibble::bench {
namespace {

// The lab's network with random weights, calibrated on noise: speed does not depend on the numbers.
quant::IntModel make_model(int weight_bits, int act_bits) {
  const ModelSpec spec{.weight_bits = weight_bits, .act_bits = act_bits, .bias_bits = 16};
  Run run(spec, Augmentation{}, 1, nn::SGDOptions{});
  Rng rng(2);
  calibrate(run, {uniform({16, 1, 28, 28}, 0, 1, rng)});
  return quant::lower(run.model, {1, 28, 28});
}

// Raw pixels to logits. One thread: as a caller with an arena of its own; more: on all of them.
std::function<void()> make_inference(int weight_bits, int act_bits, std::int64_t n, int threads) {
  auto engine = std::make_shared<quant::IntEngine>(make_model(weight_bits, act_bits));
  Rng rng(3);
  const Tensor noise = uniform({n, 1, 28, 28}, 0, 255, rng).to(DType::uint8);
  auto logits = std::make_shared<std::vector<std::int32_t>>(static_cast<std::size_t>(n * engine->classes()));
  auto arena = std::make_shared<quant::IntEngine::Arena>(engine->make_arena());
  return [=] {
    const std::uint8_t* const pixels = noise.data<std::uint8_t>();
    threads == 1 ? engine->run(*arena, pixels, n, logits->data())
                 : engine->run_parallel(pixels, n, logits->data());
    benchmark::DoNotOptimize(logits->data());
    benchmark::ClobberMemory();
  };
}

}  // namespace

void register_int_infer() {
  for (int weight_bits : {1, 2, 4, 8})
    for (int act_bits : {1, 2, 4, 8})
      for (std::int64_t n : {1, 64, 1000})
        for (int threads : {1, 2})
          add("int_infer/w:" + std::to_string(weight_bits) + "/a:" + std::to_string(act_bits) +
                  "/batch:" + std::to_string(n),
              threads, "kimages/s", 1e-3 * static_cast<double>(n),
              [=] { return make_inference(weight_bits, act_bits, n, threads); });
}

}  // namespace nibble::bench
