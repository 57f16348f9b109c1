#include "nn/checkpoint.h"

#include "nn/linear.h"
#include "nn/sequential.h"
#include "tensor/atomic_file.h"
#include "tensor/factory.h"
#include "tensor/format_error.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;

namespace {

nn::Sequential network(std::uint64_t seed) {
  Rng rng(seed);
  nn::Sequential model;
  model.add("fc1", nn::Linear(4, 3, rng)).add("fc2", nn::Linear(3, 2, rng));
  return model;
}

}  // namespace

TEST_CASE("a checkpoint gives back what was saved, and the same bytes for the same state") {
  char directory[] = "/tmp/nibble_test_XXXXXX";
  const std::filesystem::path root = mkdtemp(directory), path = root / "model.safetensors";
  const nn::Sequential model = network(1);
  const nn::Checkpoint saved{
      nn::state_dict(model), {{"momentum_buffer.fc1.weight", ones({3, 4})}}, {{"epoch", "3"}}};
  nn::save_checkpoint(path, saved);
  const auto bytes = read_file(path);
  nn::save_checkpoint(path, saved);
  CHECK(read_file(path) == bytes);

  const nn::Checkpoint loaded = nn::load_checkpoint(path);
  CHECK(loaded.metadata == saved.metadata);
  CHECK(loaded.optimizer.size() == 1);
  nn::Sequential other = network(2);
  const auto report = nn::load_state_dict(other, loaded.model);
  CHECK(report.matched.size() == 4);
  CHECK(test::same_elements(nn::state_dict(other)["fc2.weight"], saved.model.at("fc2.weight")));

  CHECK_THROWS_AS(nn::load_checkpoint(root / "none"), std::system_error);
  write_file_atomically(path, std::span(bytes).first(bytes.size() - 1));
  CHECK_THROWS_AS(nn::load_checkpoint(path), FormatError);
  std::filesystem::remove_all(root);
}

TEST_CASE("load_state_dict is all or nothing, and reports what it did not match") {
  nn::Sequential model = network(1);
  const nn::StateDict before = nn::state_dict(model);
  nn::StateDict state = nn::state_dict(network(2));
  state["fc2.weight"] = zeros({2, 4});
  CHECK_THROWS_WITH(nn::load_state_dict(model, state),
                    "load_state_dict: fc2.weight has shape [2, 4], expected [2, 3]");
  state.erase("fc2.weight");
  CHECK_THROWS_WITH(nn::load_state_dict(model, state), "load_state_dict: fc2.weight is missing");
  state["fc3.weight"] = zeros({1});
  for (const auto& [name, tensor] : nn::state_dict(model))
    CHECK(test::same_elements(tensor, before.at(name)));
  const auto report = nn::load_state_dict(model, state, false);
  CHECK(report.missing == std::vector<std::string>{"fc2.weight"});
  CHECK(report.unexpected == std::vector<std::string>{"fc3.weight"});
  CHECK(test::same_elements(nn::state_dict(model)["fc1.weight"], state["fc1.weight"]));
}
