#include "nn/trainer.h"

#include <filesystem>
#include <limits>

#include "nn/activation.h"
#include "nn/conv2d.h"
#include "nn/flatten.h"
#include "nn/linear.h"
#include "nn/pool.h"
#include "nn/sequential.h"
#include "nn/sgd.h"
#include "nn/state_dict.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;

namespace {

// Points of the plane labelled by their quadrant; `batches` batches of 32.
nn::BatchSource quadrants(int batches, std::uint64_t seed) {
  return [=, rng = Rng(seed), left = batches](nn::Batch& batch) mutable {
    if (left-- == 0) return false;
    batch.x = uniform({32, 2}, -1, 1, rng);
    batch.y = empty({32}, DType::int64);
    for (std::int64_t i = 0; i < 32; ++i)
      batch.y.mutable_data<std::int64_t>()[i] =
          (batch.x.data<float>()[2 * i] > 0 ? 1 : 0) + (batch.x.data<float>()[2 * i + 1] > 0 ? 2 : 0);
    return true;
  };
}

nn::Sequential network() {
  Rng rng(1);
  return nn::Sequential{nn::Linear(2, 16, rng), nn::ReLU{}, nn::Linear(16, 4, rng)};
}

// Noise with labels; `batches` batches large enough for every operation to be shared among threads.
nn::BatchSource images(int batches, std::uint64_t seed) {
  return [=, rng = Rng(seed), left = batches](nn::Batch& batch) mutable {
    if (left-- == 0) return false;
    constexpr std::int64_t kImages = 64;
    batch.x = uniform({1, 12, 12, kImages}, -1, 1, rng).permute({3, 0, 1, 2});
    batch.y = empty({kImages}, DType::int64);
    for (std::int64_t& label : batch.y.mutable_values<std::int64_t>())
      label = static_cast<std::int64_t>(rng.below(4));
    return true;
  };
}

nn::Sequential convolutional_network() {
  Rng rng(1);
  return nn::Sequential{nn::Conv2d(1, 8, 3, {.padding = 1}, rng), nn::ReLU{}, nn::MaxPool2d(2), nn::Flatten{},
                        nn::Linear(8 * 6 * 6, 4, rng)};
}

// Threads of this process, those that wait included.
int threads_of_process() {
  int threads = 0;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task")) threads += entry.exists();
  return threads;
}

}  // namespace

TEST_CASE("training learns, evaluation counts by class and leaves the model as it was") {
  nn::Sequential model = network();
  nn::SGD optimizer(model.named_parameters(), {.lr = 0.1, .momentum = 0.9});
  const auto before = nn::evaluate(model, quadrants(10, 2));
  nn::train_epoch(model, optimizer, quadrants(300, 1));
  const auto state = nn::state_dict(model);
  const auto after = nn::evaluate(model, quadrants(10, 2));
  CHECK(after.total.accuracy() > 0.95);
  CHECK(after.total.loss() < before.total.loss());
  CHECK(after.total.samples == 320);
  CHECK(after.class_samples.size() == 4);
  std::int64_t correct = 0;
  for (std::int64_t c : after.class_correct) correct += c;
  CHECK(correct == after.total.correct);
  CHECK(after.dead_classes().empty());
  CHECK(model.is_training());
  for (const auto& [name, tensor] : nn::state_dict(model)) CHECK(test::same_elements(tensor, state.at(name)));
}

TEST_CASE("dead classes are those that occur and are hardly ever recognised") {
  nn::Evaluation e;
  e.class_samples = {100, 100, 0, 100};
  e.class_correct = {5, 4, 0, 100};
  CHECK(e.dead_classes() == std::vector<int>{1});
}

TEST_CASE("a loss that is not a number stops before the step, naming it") {
  nn::Sequential model = network();
  nn::SGD optimizer(model.named_parameters(), {.lr = 0.1});
  nn::StateDict kept;
  int calls = 0;
  const nn::BatchSource poisoned = [&, good = quadrants(3, 1)](nn::Batch& batch) mutable {
    if (++calls == 3) kept = nn::state_dict(model);
    good(batch);
    if (calls == 3) batch.x.fill(std::numeric_limits<double>::quiet_NaN());
    return true;
  };
  CHECK_THROWS_WITH(nn::train_epoch(model, optimizer, poisoned), "the loss is not a number at step 3");
  for (const auto& [name, tensor] : nn::state_dict(model)) CHECK(test::same_elements(tensor, kept.at(name)));
}

TEST_CASE("a callback can stop an epoch") {
  nn::Sequential model = network();
  nn::SGD optimizer(model.named_parameters(), {.lr = 0.1, .momentum = 0.9});
  const auto progress =
      nn::train_epoch(model, optimizer, quadrants(100, 1), [](const nn::Progress& p) { return p.step < 20; });
  CHECK(progress.step == 20);
}

TEST_CASE("any number of threads trains the same bits") {
  std::vector<nn::StateDict> states;
  const int before = num_threads();
  for (int threads : {1, 2, 3}) {
    set_num_threads(threads);
    nn::Sequential model = convolutional_network();
    nn::SGD optimizer(model.named_parameters(), {.lr = 0.1, .momentum = 0.9});
    nn::train_epoch(model, optimizer, images(5, 1));
    CHECK(threads_of_process() >= threads);  // else there was nothing to share
    states.push_back(nn::state_dict(model));
  }
  set_num_threads(before);
  CHECK(!test::same_elements(states[0].begin()->second,
                             nn::state_dict(convolutional_network()).begin()->second));
  for (const auto& [name, tensor] : states[0])
    for (std::size_t i = 1; i < states.size(); ++i) CHECK(test::same_elements(tensor, states[i].at(name)));
}
