#include "apps/lab/lab_results.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "tensor/atomic_file.h"

namespace nibble {

std::array<double, 2> wilson95(std::int64_t successes, std::int64_t trials) {
  if (trials <= 0) return {0, 1};
  constexpr double z = 1.959963984540054;
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(successes) / n;
  const double center = p + z * z / (2 * n), width = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n));
  const double scale = 1 + z * z / n;
  return {std::max(0.0, (center - width) / scale), std::min(1.0, (center + width) / scale)};
}

std::array<double, 2> RunRecord::accuracy_ci95() const { return wilson95(correct, samples); }

const RunRecord* LabResults::find(const std::string& name) const {
  const auto found =
      std::find_if(runs.begin(), runs.end(), [&](const RunRecord& run) { return run.name == name; });
  return found == runs.end() ? nullptr : &*found;
}

std::vector<std::string> LabResults::pareto() const {
  std::vector<const RunRecord*> candidates;
  for (const RunRecord& run : runs)
    if (run.name == "fp32-e6" || run.name.rfind("sweep-", 0) == 0) candidates.push_back(&run);
  std::stable_sort(candidates.begin(), candidates.end(), [](const RunRecord* a, const RunRecord* b) {
    return a->total_bytes() != b->total_bytes() ? a->total_bytes() < b->total_bytes()
                                                : a->accuracy() > b->accuracy();
  });
  std::vector<std::string> front;
  double best = -1;
  for (const RunRecord* run : candidates) {
    if (run->accuracy() <= best) continue;
    best = run->accuracy();
    front.push_back(run->name);
  }
  return front;
}

namespace {

using Json = nlohmann::ordered_json;

Json json_of(const IntegerRecord& integers) {
  return {{"file_bytes", integers.file_bytes},
          {"test_accuracy", integers.accuracy()},
          {"images_per_second", integers.images_per_second}};
}

Json json_of(const IntegerNetwork& network) {
  Json json = json_of(network.record);
  json["of"] = network.of;
  json["model_file"] = network.model_file;
  json["float_file_bytes"] = network.float_bytes;
  json["fp32_images_per_second"] = network.float_images_per_second;
  json["speedup_vs_fp32"] = network.speedup();
  json["certificate"] = network.certificate;
  json["green"] = network.green;
  json["fake_quant_differing_per_million"] = network.differing_per_million;
  json["fake_quant_changed_answers"] = network.changed_answers;
  return json;
}

}  // namespace

void write_results(const std::filesystem::path& path, const LabResults& results) {
  Json runs = Json::array();
  for (const RunRecord& run : results.runs) {
    Json history = Json::array();
    for (const EpochRecord& epoch : run.history)
      history.push_back({{"epoch", epoch.epoch},
                         {"train_loss", epoch.train_loss},
                         {"train_accuracy", epoch.train_accuracy},
                         {"test_loss", epoch.test_loss},
                         {"test_accuracy", epoch.test_accuracy}});
    runs.push_back({{"name", run.name},
                    {"weight_bits", run.weight_bits},
                    {"act_bits", run.act_bits},
                    {"bias_bits", run.bias_bits},
                    {"epochs", run.epochs},
                    {"test_accuracy", run.accuracy()},
                    {"test_loss", run.test_loss},
                    {"accuracy_ci95", run.accuracy_ci95()},
                    {"dead_classes", run.dead_classes},
                    {"weight_bytes", run.weight_bytes},
                    {"activation_bytes", run.activation_bytes},
                    {"train_seconds", run.train_seconds},
                    {"distinct_codes", run.distinct_codes},
                    {"history", history},
                    {"model_file", run.model_file}});
    if (run.integers) runs.back()["integers"] = json_of(*run.integers);
  }
  Json document = {{"schema", 1},
                   {"dataset", {{"name", results.dataset}, {"sha256", results.sha256}}},
                   {"seed", results.seed},
                   {"threads", results.threads},
                   {"isa", results.isa},
                   {"runs", runs},
                   {"pareto", results.pareto()}};
  if (results.integers) document["int-w4a4b16"] = json_of(*results.integers);
  const std::string text = document.dump(2) + "\n";
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace nibble
