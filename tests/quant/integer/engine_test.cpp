#include "quant/integer/engine.h"

#include <thread>
#include <vector>

#include "quant/integer/graph.h"
#include "quant/integer/reference.h"
#include "tensor/simd/isa.h"
#include "tests/support/catch.h"
#include "tests/support/random_int_model.h"
#include "tests/support/traces.h"

namespace nibble::quant {
namespace {

using test::first_difference;
using test::RandomIntModel;

std::vector<std::int32_t> run(const IntEngine& engine, const Tensor& pixels) {
  std::vector<std::int32_t> logits(static_cast<std::size_t>(pixels.size(0) * engine.classes()));
  IntEngine::Arena arena = engine.make_arena();
  engine.run(arena, pixels.data<std::uint8_t>(), pixels.size(0), logits.data());
  return logits;
}

TEST_CASE("every integer of the engine is that of the reference, on every tier", "[tiers]") {
  for (int i = 0; i < 150 * NIBBLE_TEST_REPEAT; ++i) {
    CAPTURE(i);
    RandomIntModel random(static_cast<std::uint64_t>(i));
    const IntModel model = random.model();
    const Tensor pixels = random.pixels(model.input.image, random.between(1, 19));
    const IntTrace expected = run_reference(model, pixels);
    const auto last = expected.back().codes.values<std::int32_t>();
    for (const Isa isa : supported_isas()) {
      CAPTURE(name_of(isa));
      const IntEngine engine(model, isa);
      REQUIRE(first_difference(expected, engine.trace(pixels)) == "");
      REQUIRE(run(engine, pixels) == std::vector<std::int32_t>(last.begin(), last.end()));
    }
  }
}

TEST_CASE("deploy mode, on float operations, computes the integers of the reference") {
  for (int i = 0; i < 100; ++i) {
    CAPTURE(i);
    RandomIntModel random(static_cast<std::uint64_t>(1000 + i));
    const IntModel model = random.model();
    const Tensor pixels = random.pixels(model.input.image, 3);
    REQUIRE(first_difference(run_reference(model, pixels), run_deploy(model, pixels)) == "");
  }
}

TEST_CASE("threads that share an engine agree") {
  RandomIntModel random(7);
  const IntModel model = random.model();
  const IntEngine engine(model);
  const Tensor pixels = random.pixels(model.input.image, 100);
  const std::vector<std::int32_t> expected = run(engine, pixels);
  std::vector<std::vector<std::int32_t>> results(8);
  std::vector<std::thread> threads;
  for (auto& result : results) threads.emplace_back([&] { result = run(engine, pixels); });
  for (std::thread& thread : threads) thread.join();
  for (const auto& result : results) REQUIRE(result == expected);
  std::vector<std::int32_t> parallel(expected.size());
  engine.run_parallel(pixels.data<std::uint8_t>(), 100, parallel.data());
  REQUIRE(parallel == expected);
}

TEST_CASE("a linear layer that is too deep for packed products is refused by name") {
  constexpr std::int64_t kInputs = 33000;  // the sums fit int32, those of 8-bit kernels at worst do not
  IntModel model;
  model.input.image = {1, 1, kInputs};
  model.layers.push_back(IntFlatten{"flatten"});
  IntProduct linear;
  linear.name = "fc9";
  linear.weight = full({1, kInputs}, 1, DType::int8);
  linear.bias = {0};
  linear.weight_scale = {1};
  linear.out.bit_width = 32;
  model.layers.push_back(linear);
  REQUIRE_NOTHROW(check(model));
  for (const Isa isa : supported_isas())
    REQUIRE_THROWS_WITH(IntEngine(model, isa), Catch::StartsWith("fc9: ") && Catch::Contains("k is "));
}

TEST_CASE("a warm engine allocates nothing from the system") {
  RandomIntModel random(11);
  const IntModel model = random.model();
  const IntEngine engine(model);
  const Tensor pixels = random.pixels(model.input.image, 40);
  IntEngine::Arena arena = engine.make_arena();
  std::vector<std::int32_t> logits(static_cast<std::size_t>(40 * engine.classes()));
  const auto run_all = [&] { engine.run(arena, pixels.data<std::uint8_t>(), 40, logits.data()); };
  run_all();
  const std::size_t before = pool_stats().system_allocations;
  for (int i = 0; i < 20; ++i) run_all();
  REQUIRE(pool_stats().system_allocations == before);
}

}  // namespace
}  // namespace nibble::quant
