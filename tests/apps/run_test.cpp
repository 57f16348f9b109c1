#include "apps/run.h"

#include "nn/loss.h"
#include "tensor/factory.h"
#include "tests/support/catch.h"

using namespace nibble;

TEST_CASE("a warm training step asks the system for no memory") {
  const ModelSpec w4a4{.weight_bits = 4, .act_bits = 4, .bias_bits = 16};
  for (const ModelSpec& spec : {ModelSpec{}, w4a4}) {
    Run run(spec, Augmentation{}, 1, nn::SGDOptions{.lr = 0.01, .momentum = 0.9});
    Rng rng(2);
    const Tensor x = uniform({1, 28, 28, 8}, 0, 1, rng).permute({3, 0, 1, 2}), y = arange(8);
    const auto step = [&] {
      const Variable loss = nn::cross_entropy(run.model(x), y);
      run.optimizer->zero_grad();
      loss.backward();
      run.optimizer->step();
    };
    for (int i = 0; i < 5; ++i) step();
    const std::size_t before = pool_stats().system_allocations;
    for (int i = 0; i < 100; ++i) step();
    CHECK(pool_stats().system_allocations == before);
  }
}
