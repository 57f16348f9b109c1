#include "apps/training/run.h"

#include "autograd/ops_loss.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"
#include "tests/support/catch.h"

using namespace nibble;

TEST_CASE("a warm training step asks the system for no memory") {
  const ModelSpec w4a4{.weight_bits = 4, .act_bits = 4, .bias_bits = 16};
  for (const ModelSpec& spec : {ModelSpec{}, w4a4}) {
    Run run(spec, Augmentation{}, 1, nn::SGDOptions{.lr = 0.01, .momentum = 0.9});
    Rng rng(2);
    const Tensor x = uniform({1, 28, 28, 8}, 0, 1, rng).permute({3, 0, 1, 2}), y = arange(8);
    const auto step = [&] {
      const Variable loss = cross_entropy(run.model(x), y);
      run.optimizer->zero_grad();
      loss.backward();
      run.optimizer->step();
    };
    const auto allocations_of = [&](int steps) {
      const std::size_t before = pool_stats().system_allocations;
      for (int i = 0; i < steps; ++i) step();
      return pool_stats().system_allocations - before;
    };
    const int threads = num_threads();
    set_num_threads(1);
    allocations_of(5);
    CHECK(allocations_of(100) == 0);
    // Several threads want scratch memory of their own only where they happen to run at the same moment: how
    // many steps are warming up is chance, but it ends.
    set_num_threads(threads);
    int rounds = 0;
    while (allocations_of(100) != 0 && rounds < 20) ++rounds;
    CHECK(rounds < 20);
  }
}
