#include "apps/lab/lab.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <functional>
#include <iterator>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "apps/lab/activation_demo.h"
#include "apps/lab/lab_results.h"
#include "apps/lab/report.h"
#include "apps/proof/integer_network.h"
#include "apps/proof/proof.h"
#include "apps/terminal/output_file.h"
#include "apps/terminal/progress.h"
#include "apps/training/experiment.h"
#include "apps/training/print_result.h"
#include "apps/training/quantize.h"
#include "apps/training/side_by_side.h"
#include "nn/state_dict.h"
#include "quant/inspect.h"
#include "quant/integer/model_file.h"
#include "tensor/parallel.h"
#include "tensor/simd/isa.h"

namespace nibble {
namespace {

class Lab {
 public:
  explicit Lab(const LabOptions& options);

  void train_float();
  void quantize_after_training();
  void demonstrate();
  void train_quantized();
  void name_best();
  void run_sweep_in_integers();
  void run_integers(const std::string& name);
  const LabResults& results() const { return results_; }

 private:
  using Clock = std::chrono::steady_clock;
  using Records = std::vector<RunRecord>;
  struct Qat {
    std::string name, from;
    int weight_bits, act_bits;
  };

  std::filesystem::path file(const std::string& name) const { return out_ / (name + ".safetensors"); }
  Run load(const std::string& name) const {
    return load_run(file(name), {.lr = options_.training.lr, .momentum = options_.training.momentum});
  }
  ModelSpec spec(int weight_bits, int act_bits, bool softmax) const;
  RunRecord train(const std::string& name, Run& run);
  void train_side_by_side(std::size_t count, const std::function<Records(std::size_t)>& train);
  static IntegerRecord measure(const quant::IntModel& model, const RawImages& images);
  static double measure_float(Run& run, const RawImages& images);
  const RawImages& raw_test_images_of(const Run& run);
  RunRecord record(const std::string& name, Run& run, const nn::Evaluation& test, Clock::time_point begin,
                   const std::vector<EpochResult>& epochs) const;
  void add(RunRecord record);

  LabOptions options_;
  std::filesystem::path out_;
  Experiment experiment_;
  LabResults results_;
  std::optional<RawImages> test_images_;
};

Lab::Lab(const LabOptions& options)
    : options_(options), out_(options.training.out), experiment_(options.common) {
  results_.dataset = experiment_.data().name;
  results_.sha256 = experiment_.data().sha256;
  results_.seed = options.common.seed.value_or(0);
  results_.threads = num_threads();
  results_.isa = name_of(active_isa());
  results_.quick = options.quick;
  results_.train_images = experiment_.train_size();
  results_.test_images = experiment_.test_size();
}

ModelSpec Lab::spec(int weight_bits, int act_bits, bool softmax) const {
  QuantizationOptions quantization = options_.quantization;
  quantization.weight_bits = weight_bits;
  quantization.act_bits = act_bits;
  if (act_bits == 32) quantization.bias_bits = "none";
  return quantized_spec(quantization, softmax);
}

RunRecord Lab::train(const std::string& name, Run& run) {
  const Clock::time_point begin = Clock::now();
  TrainingPlan plan = plan_of(options_.training, 3, name);
  plan.out = file(name);
  const auto epochs = experiment_.train(run, plan);
  return record(name, run, epochs.back().test, begin, epochs);
}

void Lab::train_side_by_side(std::size_t count, const std::function<Records(std::size_t)>& train) {
  std::vector<Records> records(count);
  side_by_side(
      count, [&](std::size_t i) { records[i] = train(i); },
      [&](std::size_t i) {
        for (RunRecord& record : records[i]) add(std::move(record));
      });
}

// The second half goes on with the first one's momentum, read back from its checkpoint.
void Lab::train_float() {
  const std::string suffixes[] = {"", "-logits"};
  train_side_by_side(std::size(suffixes), [&](std::size_t i) {
    const std::string first = "fp32-e3" + suffixes[i], second = "fp32-e6" + suffixes[i];
    TrainingOptions training = options_.training;
    training.logits = !suffixes[i].empty();
    Run run = start_run(options_.common, training);
    Records records{train(first, run)};
    run = load(first);
    records.push_back(train(second, run));
    return records;
  });
}

void Lab::quantize_after_training() {
  const Clock::time_point begin = Clock::now();
  Run start = load("fp32-e6");
  for (const quant::MemoryEntry& entry : memory_of(start).entries)
    results_.memory.push_back({entry.layer, entry.is_weight, entry.values});
  Run run = quantized_copy(start, spec(4, 32, start.spec.softmax), start.seed);
  PtqRecord& ptq = results_.ptq;
  if (!options_.quantization.calibrate_on.empty()) ptq.calibrated_on = options_.quantization.calibrate_on;
  ptq.accuracy_before_correction = experiment_.evaluate(run.model, run.augmentation).total.accuracy();
  const auto images = calibration_images(run, experiment_, parse_calibration_split(ptq.calibrated_on),
                                         options_.training.batch_size);
  calibrate(run, images);
  correct_biases(run, images);
  save_run(file("ptq-w4"), run);
  const nn::StateDict state = nn::state_dict(start.model);
  for (const char* layer : {"conv1", "conv2", "linear"}) {
    const quant::WeightReport report =
        quant::inspect_weight(state.at(std::string(layer) + ".weight"), weight_quantizer(run.spec));
    const Tensor scale = report.scale.contiguous();
    const auto before = report.weight.values<float>(), after = report.quantized.values<float>();
    ptq.layers.push_back({layer,
                          scale.values<float>()[0],
                          {before.begin(), before.end()},
                          {after.begin(), after.end()},
                          report.mean_difference,
                          std::max(std::abs(report.max_difference), std::abs(report.min_difference))});
  }
  add(record("ptq-w4", run, experiment_.evaluate(run.model, run.augmentation), begin, {}));
}

void Lab::demonstrate() {
  results_.demo = demonstrate_activation(2);
  print_demo(results_.demo);
}

void Lab::train_quantized() {
  std::vector<Qat> all{{"qat-w4", "fp32-e3", 4, 32},
                       {"qat-w4a4b16", "fp32-e3", 4, 4},
                       {"qat-w4a4b16-logits", "fp32-e3-logits", 4, 4}};
  for (int act_bits : {2, 4, 8})
    for (int weight_bits : {2, 4, 8})
      if (!options_.quick || act_bits == weight_bits)
        all.push_back({fmt::format("sweep-a{}w{}", act_bits, weight_bits), "fp32-e3", weight_bits, act_bits});
  train_side_by_side(all.size(), [&](std::size_t i) {
    const Qat& qat = all[i];
    const Run start = load(qat.from);
    Run run = quantized_copy(start, spec(qat.weight_bits, qat.act_bits, start.spec.softmax),
                             seed_of_run(start.seed, qat.name));
    return Records{train(qat.name, run)};
  });
}

// When all are trained, so that nothing else runs while their speed is taken.
void Lab::run_sweep_in_integers() {
  for (RunRecord& record : results_.runs) {
    if (record.name.rfind("sweep-", 0) != 0) continue;
    Run run = load(record.name);
    record.integers = measure(lower_checkpoint(file(record.name), run), raw_test_images_of(run));
  }
}

IntegerRecord Lab::measure(const quant::IntModel& model, const RawImages& images) {
  const OneThread on_this_thread;  // speeds of one core compare better
  const IntegerEvaluation test = evaluate(quant::IntEngine(model), images);
  return {static_cast<std::int64_t>(quant::serialize_nbq(model).size()), test.correct, test.samples,
          test.images_per_second};
}

double Lab::measure_float(Run& run, const RawImages& images) {
  const OneThread on_this_thread;
  return float_images_per_second(run.model, images);
}

// The images of the lab's own evaluations, as pixels.
const RawImages& Lab::raw_test_images_of(const Run& run) {
  if (!test_images_) test_images_ = raw_test_images(options_.common, run.augmentation);
  return *test_images_;
}

void Lab::run_integers(const std::string& name) {
  Run run = load(name), in_float = load("fp32-e6");
  const quant::IntModel model = lower_checkpoint(file(name), run);
  const RawImages& images = raw_test_images_of(run);
  IntegerNetwork network;
  network.of = name;
  network.model_file = "int-w4a4b16.nbq";
  quant::save_nbq(out_ / network.model_file, model);
  for (int round = 0; round < 3; ++round) {  // by turns, so that a slow moment of the machine meets both
    const IntegerRecord record = measure(model, images);
    if (record.images_per_second > network.record.images_per_second) network.record = record;
    network.float_images_per_second =
        std::max(network.float_images_per_second, measure_float(in_float, images));
  }
  for (const auto& [parameter, value] : in_float.model.named_parameters())
    network.float_bytes += value.value().numel() * static_cast<std::int64_t>(sizeof(float));
  const Proof proof = prove(model, &run.model, images);
  network.certificate = proof.certificate;
  network.green = proof.is_green();
  for (const Producer& producer : proof.producers) {
    if (!producer.skipped.empty()) continue;
    network.compared.push_back(producer.name);
    network.integers += producer.integers;
  }
  network.differing_per_million = proof.fake_quant->per_million();
  network.changed_answers = proof.fake_quant->changed_answers;
  fmt::print(
      "  {:20} accuracy {:.4f}  {:.2f} KiB  {:.0f} images/s, {:.2f} times float32; certificate {}: {:.16}\n",
      "int-w4a4b16", network.record.accuracy(), static_cast<double>(network.record.file_bytes) / 1024,
      network.record.images_per_second, network.speedup(), network.green ? "green" : "red",
      network.certificate);
  results_.integers = std::move(network);
}

void Lab::name_best() {
  for (const std::string& name : results_.pareto()) {
    const RunRecord* run = results_.find(name);
    fmt::print("  {:20} {:8.3f} KiB  accuracy {:.4f}\n", name, run->total_bytes() / 1024, run->accuracy());
  }
}

RunRecord Lab::record(const std::string& name, Run& run, const nn::Evaluation& test, Clock::time_point begin,
                      const std::vector<EpochResult>& epochs) const {
  const quant::MemoryLedger memory = memory_of(run);
  RunRecord record;
  record.name = name;
  record.weight_bits = run.spec.weight_bits;
  record.act_bits = run.spec.act_bits;
  record.bias_bits = run.spec.bias_bits == 0 ? 32 : run.spec.bias_bits;
  record.epochs = run.epochs;
  record.correct = test.total.correct;
  record.samples = test.total.samples;
  record.test_loss = test.total.loss();
  record.dead_classes = test.dead_classes();
  record.weight_bytes = memory.weight_bytes();
  record.activation_bytes = memory.activation_bytes();
  record.train_seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  record.distinct_codes = quant::distinct_codes(run.model);
  for (const EpochResult& epoch : epochs)
    record.history.push_back({epoch.epoch, epoch.train.loss(), epoch.train.accuracy(),
                              epoch.test.total.loss(), epoch.test.total.accuracy()});
  record.model_file = file(name).filename().string();
  return record;
}

void Lab::add(RunRecord record) {
  warn_of_dead_classes(record.dead_classes, record.name);
  print_line(fmt::format("  {:20} accuracy {:.4f}  loss {:.4f}  {:7.3f} KiB  {:5.1f} s", record.name,
                         record.accuracy(), record.test_loss, record.total_bytes() / 1024,
                         record.train_seconds));
  results_.runs.push_back(std::move(record));
}

void announce(int stage, const char* what) {
  fmt::print("{}/6 {}\n", stage, what);
  std::fflush(stdout);
}

}  // namespace

void run_lab(const LabOptions& given) {
  LabOptions options = given;
  if (options.quick) {
    if (!options.training.epochs) options.training.epochs = 1;
    if (options.common.limit == 0) options.common.limit = 2000;
  }
  const std::filesystem::path out = options.training.out;
  make_output_folder(out);
  Lab lab(options);
  announce(1, "Float networks: the loss behind the softmax, and on the logits");
  lab.train_float();
  announce(2, "Post-training quantization of the weights to 4 bits");
  lab.quantize_after_training();
  announce(3, "Ten numbers through QuantIdentity");
  lab.demonstrate();
  announce(4, "Quantization-aware training of weights; of activations and biases too; pairs of widths");
  lab.train_quantized();
  announce(5, "Best options: nothing else is both smaller and more accurate");
  lab.name_best();
  announce(6, "The networks in integers, W4A4B16 proved equal on every tier");
  lab.run_sweep_in_integers();
  lab.run_integers("qat-w4a4b16");
  write_results(out / "results.json", lab.results());
  write_report(out, lab.results());
  fmt::print("{}: report.md, figures, results.json, one checkpoint per run\n", out.string());
}

}  // namespace nibble
