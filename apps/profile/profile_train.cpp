#include "apps/profile/profile_train.h"

#include <fmt/core.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "apps/profile/machine_limits.h"
#include "apps/profile/step_profile.h"
#include "apps/terminal/interrupt.h"
#include "apps/terminal/output_file.h"
#include "apps/training/run.h"
#include "data/loader.h"
#include "nn/trainer.h"
#include "tensor/atomic_file.h"
#include "tensor/factory.h"
#include "tensor/machine.h"
#include "tensor/parallel.h"
#include "tensor/simd/isa.h"

namespace nibble {
namespace {

// What an operation can reach at best.
constexpr std::size_t kFootprints[] = {std::size_t{1} << 15, std::size_t{1} << 19, std::size_t{1} << 23,
                                       std::size_t{1} << 27};
struct Machine {
  double peak_flops = measure_peak_flops();
  ReadBandwidth bandwidth{kFootprints};
};

struct Line {
  StepProfile::Row row;
  double seconds;  // per step
  Share share;
};

constexpr std::int64_t kBatches = 64;  // an epoch

data::LabelledImages random_images(std::int64_t n) {
  Rng rng(1);
  data::LabelledImages result{empty({n, 28, 28}, DType::uint8), empty({n}, DType::int64)};
  for (std::uint8_t& pixel : result.images.mutable_values<std::uint8_t>())
    pixel = static_cast<std::uint8_t>(rng.below(256));
  for (std::int64_t& label : result.labels.mutable_values<std::int64_t>())
    label = static_cast<std::int64_t>(rng.below(10));
  return result;
}

// Steps as `nibble train` makes them; the last `steps` of them are observed.
StepProfile::Rows observe_steps(const ProfileTrainOptions& options) {
  Run run(quantized_spec(options.quantization, /*softmax=*/true), Augmentation{}, 1,
          nn::SGDOptions{.lr = 0.01, .momentum = 0.9});
  data::Dataset images{random_images(kBatches * options.batch_size), {}, 1};
  images.augmentation = {data::RandomHorizontalFlip{1.0}, data::RandomRotation(45)};
  const data::DataLoader loader(images, {.batch_size = options.batch_size, .shuffle = true, .seed = 1});

  std::optional<StepProfile> profile;
  std::int64_t step = 0;
  std::optional<data::DataLoader::Epoch> epoch;
  const auto next = [&](nn::Batch& batch) {
    stop_if_interrupted();
    if (step == options.warm_up + options.steps) return false;
    if (step == options.warm_up) profile.emplace();
    if (step % kBatches == 0) epoch = loader.epoch(step / kBatches);
    const data::Batch loaded = *epoch->next();
    batch = {loaded.x, loaded.y};
    if (profile) profile->mark("load, augment");
    return true;
  };
  const auto on_step = [&](const nn::Progress&) {
    if (profile) {
      profile->mark("optimizer, accuracy");
      profile->end_step();
    }
    ++step;
    return true;
  };
  nn::train_epoch(run.model, *run.optimizer, next, on_step);
  return profile->rows();
}

std::vector<Line> lines_of(const StepProfile::Rows& rows, std::int64_t steps, const Machine& machine) {
  std::vector<Line> lines;
  for (const StepProfile::Row& row : rows) {
    const double seconds = row.seconds / static_cast<double>(steps);
    const double per_call = row.seconds / static_cast<double>(row.calls);
    const Share share{row.cost.flops / per_call / machine.peak_flops,
                      row.cost.bytes / per_call / machine.bandwidth.of(row.cost.bytes)};
    lines.push_back({row, seconds, share});
  }
  std::stable_sort(lines.begin(), lines.end(),
                   [](const Line& a, const Line& b) { return a.seconds > b.seconds; });
  return lines;
}

double sum_of_seconds(const std::vector<Line>& lines) {
  double total = 0;
  for (const Line& line : lines) total += line.seconds;
  return total;
}

void print_line(const Line& line, double total) {
  const OpCost& cost = line.row.cost;
  fmt::print("{:20} {:8} {:8.1f} {:5.1f}%", line.row.name, line.row.phase, 1e6 * line.seconds,
             100 * line.seconds / total);
  if (cost.bytes > 0)
    fmt::print(" {:9.3f} {:8.3f} {:8.1f} {:5.0f}% {:8.1f} {:5.0f}%  {:8} {}", 1e-6 * cost.flops,
               1e-6 * cost.bytes, 1e-9 * cost.flops / line.seconds, 100 * line.share.operations,
               1e-9 * cost.bytes / line.seconds, 100 * line.share.bytes, line.share.bound(), line.row.shapes);
  fmt::print("\n");
}

// Rows below this share of the step are summed up in one.
constexpr double kWorthALine = 0.005;

void print_table(const std::vector<Line>& lines, const Machine& machine) {
  const double total = sum_of_seconds(lines);
  fmt::print("{} threads, {}: peak {:.0f} GFLOP/s; reads", num_threads(), name_of(active_isa()),
             1e-9 * machine.peak_flops);
  for (const auto& [bytes, rate] : machine.bandwidth.table())
    fmt::print(" {:.0f} GB/s of {:.4g} KiB{}", 1e-9 * rate, bytes / 1024,
               bytes == machine.bandwidth.table().back().first ? "\n\n" : ",");
  fmt::print("{:20} {:8} {:>8} {:>6} {:>9} {:>8} {:>8} {:>6} {:>8} {:>6}  {:8} {}\n", "operation", "", "us",
             "time", "MFLOP", "MB", "GFLOP/s", "peak", "GB/s", "bandw.", "bound by", "shapes");
  double rest = 0;
  int hidden = 0;
  for (const Line& line : lines) {
    if (line.seconds >= kWorthALine * total) {
      print_line(line, total);
    } else {
      rest += line.seconds;
      ++hidden;
    }
  }
  if (hidden > 0)
    fmt::print("{:29} {:8.1f} {:5.1f}%\n", fmt::format("{} smaller ones", hidden), 1e6 * rest,
               100 * rest / total);
  OpCost cost;
  for (const Line& line : lines) cost.flops += line.row.cost.flops, cost.bytes += line.row.cost.bytes;
  fmt::print("{:29} {:8.1f}        {:9.3f} {:8.3f} {:8.1f} {:5.0f}% {:8.1f}\n", "step", 1e6 * total,
             1e-6 * cost.flops, 1e-6 * cost.bytes, 1e-9 * cost.flops / total,
             100 * cost.flops / total / machine.peak_flops, 1e-9 * cost.bytes / total);
}

void write_json(const std::string& path, const ProfileTrainOptions& options, const std::vector<Line>& lines,
                const Machine& machine) {
  using Json = nlohmann::ordered_json;
  Json rows = Json::array();
  for (const Line& line : lines) {
    Json row = {{"name", line.row.name}, {"phase", line.row.phase}, {"seconds", line.seconds}};
    if (line.row.cost.bytes > 0)
      row.update({{"shapes", line.row.shapes},
                  {"flops", line.row.cost.flops},
                  {"bytes", line.row.cost.bytes},
                  {"share_of_peak", line.share.operations},
                  {"share_of_bandwidth", line.share.bytes},
                  {"bound_by", line.share.bound()}});
    rows.push_back(std::move(row));
  }
  Json bandwidth = Json::array();
  for (const auto& [bytes, rate] : machine.bandwidth.table())
    bandwidth.push_back({{"bytes", bytes}, {"bytes_per_second", rate}});
  const Json document = {{"isa", name_of(active_isa())},
                         {"threads", num_threads()},
                         {"batch_size", options.batch_size},
                         {"steps", options.steps},
                         {"weight_bits", options.quantization.weight_bits},
                         {"act_bits", options.quantization.act_bits},
                         {"peak_flops_per_second", machine.peak_flops},
                         {"read_bandwidth", bandwidth},
                         {"seconds_per_step", sum_of_seconds(lines)},
                         {"rows", rows}};
  const std::string text = document.dump(2) + "\n";
  write_file_atomically(path, std::as_bytes(std::span(text)));
}

}  // namespace

void profile_train(const ProfileTrainOptions& options) {
  check_writable(options.json);
  if (options.threads > 0) set_num_threads(options.threads);
  const Machine machine;
  const std::vector<Line> lines = lines_of(observe_steps(options), options.steps, machine);
  print_table(lines, machine);
  if (!options.json.empty()) write_json(options.json, options, lines, machine);
}

}  // namespace nibble
