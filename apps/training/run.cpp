#include "apps/training/run.h"

#include <charconv>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <system_error>

#include "apps/terminal/output_file.h"
#include "nn/checkpoint.h"
#include "tensor/check.h"

namespace nibble {
namespace {

using Metadata = std::map<std::string, std::string>;

constexpr int kMostEpochs = 1'000'000;
constexpr std::int64_t kMostSteps = 1'000'000'000;

template <class Integer>
Integer number(const Metadata& metadata, const char* key, Integer otherwise,
               Integer most = std::numeric_limits<Integer>::max()) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return otherwise;
  const std::string& text = found->second;
  Integer value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  NIBBLE_CHECK(error == std::errc() && end == text.data() + text.size() && value >= 0 && value <= most, key,
               " is \"", text, "\", expected a number from 0 to ", most);
  return value;
}

bool is_pickle(const std::filesystem::path& path) {
  return path.extension() == ".pth" || path.extension() == ".pt";
}

void check_finite(const nn::StateDict& state) {
  for (const auto& [name, tensor] : state) {
    if (tensor.dtype() != DType::float32) continue;
    const Tensor dense = tensor.contiguous();
    for (const float value : dense.values<float>())
      NIBBLE_CHECK(std::isfinite(value), "tensor ", name, " holds ", value, ", expected finite numbers");
  }
}

// Everything or an exception: an old momentum must not meet new weights.
void load_tensors(Run& run, const nn::Checkpoint& checkpoint) {
  const nn::LoadReport report = nn::load_state_dict(run.model, checkpoint.model, /*strict=*/false);
  NIBBLE_CHECK(report.missing.empty(), "tensor ", report.missing.front(), " is missing");
  NIBBLE_CHECK(report.unexpected.empty(), "tensor ", report.unexpected.front(),
               " is not part of the network");
  check_finite(checkpoint.model);
  run.optimizer->load_state_dict(checkpoint.optimizer);
}

}  // namespace

Run::Run(const ModelSpec& spec, const Augmentation& augmentation, std::uint64_t seed,
         const nn::SGDOptions& sgd)
    : spec(spec), augmentation(augmentation), seed(seed), sgd(sgd) {
  Rng rng(seed);
  model = make_lab_model(spec, rng);
  optimizer = std::make_unique<nn::SGD>(model.named_parameters(), sgd);
}

void save_run(const std::filesystem::path& path, const Run& run) {
  Metadata metadata;
  to_metadata(run.spec, metadata);
  to_metadata(run.augmentation, metadata);
  metadata["seed"] = std::to_string(run.seed);
  metadata["epochs"] = std::to_string(run.epochs);
  metadata["steps"] = std::to_string(run.steps);
  nn::save_checkpoint(path, {nn::state_dict(run.model), run.optimizer->state_dict(), metadata});
}

void check_checkpoint_path(const std::filesystem::path& path) {
  const std::string extension = path.extension().string();
  NIBBLE_CHECK(!is_pickle(path) && extension != ".nbq", path.string(), ": a checkpoint does not end in ",
               extension, ", expected .safetensors");
  check_writable(path);
}

Run load_run(const std::filesystem::path& path, const nn::SGDOptions& sgd, bool logits) {
  NIBBLE_CHECK(!is_pickle(path), path.string(),
               ": a PyTorch pickle; convert it with scripts/pth2safetensors.py where PyTorch is installed");
  const nn::Checkpoint checkpoint = nn::load_checkpoint(path);
  try {
    const Metadata& metadata = checkpoint.metadata;
    ModelSpec spec = spec_from_metadata(metadata);
    if (logits) spec.softmax = false;
    Run run(spec, augmentation_from_metadata(metadata), number<std::uint64_t>(metadata, "seed", 0), sgd);
    run.epochs = number(metadata, "epochs", 0, kMostEpochs);
    run.steps = number<std::int64_t>(metadata, "steps", 0, kMostSteps);
    load_tensors(run, checkpoint);
    return run;
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(path.string() + ": " + error.what());
  }
}

Run start_run(const CommonOptions& common, const TrainingOptions& training) {
  NIBBLE_CHECK(!training.no_augment || training.rotate.empty(),
               "--no-augment and --rotate contradict each other");
  const nn::SGDOptions sgd{.lr = training.lr, .momentum = training.momentum};
  ModelSpec spec;
  spec.softmax = !training.logits;
  Run run = training.from.empty() ? Run(spec, {}, common.seed.value_or(0), sgd)
                                  : load_run(training.from, sgd, training.logits);
  if (common.seed) run.seed = *common.seed;
  if (!training.rotate.empty()) run.augmentation = parse_rotation(training.rotate);
  if (training.no_augment) run.augmentation.enabled = false;
  return run;
}

std::uint64_t seed_of_run(std::uint64_t seed, const std::string& name) {
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return stream_of(seed, hash);
}

}  // namespace nibble
