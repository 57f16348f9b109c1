#include "apps/proof/proof.h"

#include <algorithm>
#include <cstring>
#include <future>
#include <map>
#include <mutex>
#include <tuple>

#include "apps/terminal/interrupt.h"
#include "quant/integer/graph.h"
#include "quant/integer/lowering.h"
#include "quant/integer/model_file.h"
#include "quant/integer/reference.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"

namespace nibble {
namespace {

// A batch's traces of every producer are in memory at once.
constexpr std::int64_t kBatch = 16;

Tensor with_extremes(const Tensor& images, const Tensor& extremes) {
  Shape shape = images.shape();
  shape[0] += extremes.size(0);
  Tensor all = empty(shape, DType::uint8);
  std::uint8_t* const to = all.mutable_data<std::uint8_t>();
  std::memcpy(to, images.data<std::uint8_t>(), static_cast<std::size_t>(images.numel()));
  std::memcpy(to + images.numel(), extremes.data<std::uint8_t>(), static_cast<std::size_t>(extremes.numel()));
  return all;
}

// Everything that runs in this process, batch by batch on all threads.
class Prover {
 public:
  Prover(const quant::IntModel& model, nn::Sequential* network, const RawImages& images, const Tensor& pixels)
      : model_(model),
        graph_(network == nullptr ? model
                                  : quant::lower(*network, model.input.image, model.input.pixel_divisor)),
        network_(network),
        images_(images),
        pixels_(pixels),
        hashes_(pixels.size(0)) {
    comparisons_.emplace_back();
    for (const Isa isa : supported_isas()) {
      engines_.emplace_back(model, isa);
      comparisons_.emplace_back();
    }
    logits_.resize(static_cast<std::size_t>(pixels.size(0) * quant::logits_of(model)));
  }

  void run() {
    const std::int64_t n = pixels_.size(0), batches = (n + kBatch - 1) / kBatch;
    parallel_for(batches, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t b = begin; b < end && !interrupted(); ++b)
        run_batch(b * kBatch, std::min(kBatch, n - b * kBatch));
    });
    stop_if_interrupted();
  }

  void report(Proof& proof) const {
    add_producer(proof, "deploy graph", 0);
    for (std::size_t e = 0; e < engines_.size(); ++e)
      add_producer(proof, std::string("tier ") + name_of(engines_[e].isa()), e + 1);
    if (network_ != nullptr) proof.fake_quant = distance_;
    proof.correct = correct_;
    proof.ties = ties_;
    for (LayerProof& layer : proof.layers) {
      const auto found = sums_.find(layer.name);
      if (found != sums_.end()) std::tie(layer.least_sum, layer.largest_sum) = found->second;
    }
  }
  const quant::TraceHashes& hashes() const { return hashes_; }
  const std::vector<std::int32_t>& logits() const { return logits_; }

 private:
  void add_producer(Proof& proof, const std::string& name, std::size_t i) const {
    proof.producers.push_back(
        {name, comparisons_[i].integers(), comparisons_[i].differing(), comparisons_[i].first(), {}});
  }

  void run_batch(std::int64_t first, std::int64_t count) {
    const OneThread on_this_thread;
    const Tensor batch = pixels_.narrow(0, first, count).contiguous();
    const quant::IntTrace expected = quant::run_reference(model_, batch);
    const quant::IntTrace deployed = quant::run_deploy(graph_, batch);
    std::vector<quant::IntTrace> traces;
    for (const quant::IntEngine& engine : engines_) traces.push_back(with_fast_logits(engine, batch));
    const std::int64_t real = std::min(count, images_.size() - first);  // the others are extremes
    std::optional<quant::FakeQuantTrace> in_float;
    if (network_ != nullptr && real > 0) {
      const std::lock_guard lock(network_mutex_);
      in_float =
          quant::run_fake_quant(*network_, batch.narrow(0, 0, real).contiguous(), model_.input.pixel_divisor);
    }
    const std::lock_guard lock(mutex_);
    hashes_.add(expected, first);
    comparisons_[0].add(expected, deployed, first);
    for (std::size_t e = 0; e < traces.size(); ++e) comparisons_[e + 1].add(expected, traces[e], first);
    note_sums(expected);
    note_answers(expected.back().codes, first, real, in_float ? &in_float->logits : nullptr);
    if (in_float) note_codes(deployed, in_float->layers);
  }

  // The trace of a tier, its logits as run() gives them, many images in a block.
  static quant::IntTrace with_fast_logits(const quant::IntEngine& engine, const Tensor& batch) {
    quant::IntTrace trace = engine.trace(batch);
    quant::IntEngine::Arena arena = engine.make_arena();
    std::vector<std::int32_t> logits(static_cast<std::size_t>(batch.size(0) * engine.classes()));
    engine.run(arena, batch.data<std::uint8_t>(), batch.size(0), logits.data());
    const auto traced = trace.back().codes.values<std::int32_t>();
    // A difference between the two ways is one to the reference too.
    if (!std::equal(logits.begin(), logits.end(), traced.begin()))
      std::copy(logits.begin(), logits.end(), trace.back().codes.mutable_values<std::int32_t>().begin());
    return trace;
  }

  void note_sums(const quant::IntTrace& trace) {
    for (const quant::LayerTrace& layer : trace) {
      if (!layer.accumulators.defined()) continue;
      const auto values = layer.accumulators.values<std::int32_t>();
      const auto [least, largest] = std::minmax_element(values.begin(), values.end());
      const auto [at, is_new] = sums_.try_emplace(layer.name, *least, *largest);
      if (!is_new)
        at->second = {std::min<std::int64_t>(at->second.first, *least),
                      std::max<std::int64_t>(at->second.second, *largest)};
    }
  }

  void note_answers(const Tensor& logits, std::int64_t first, std::int64_t real, const Tensor* in_float) {
    const std::int64_t classes = logits.numel() / logits.size(0);
    std::copy_n(logits.data<std::int32_t>(), logits.numel(), logits_.begin() + first * classes);
    for (std::int64_t i = 0; i < real; ++i) {
      const std::int32_t* const row = logits.data<std::int32_t>() + i * classes;
      const std::int64_t answer = quant::argmax(row, classes);
      const bool tied = std::count(row, row + classes, row[answer]) > 1;
      ties_ += tied;
      correct_ += answer == images_.labels.data<std::int64_t>()[first + i];
      if (in_float == nullptr) continue;
      const float* const floats = in_float->data<float>() + i * classes;
      if (std::max_element(floats, floats + classes) - floats == answer) continue;
      ++(tied ? distance_.tied_answers : distance_.changed_answers);
    }
  }

  void note_codes(const quant::IntTrace& integers, const quant::IntTrace& in_float) {
    for (const quant::LayerTrace& layer : in_float) {
      const auto same =
          std::find_if(integers.begin(), integers.end(), [&](const auto& l) { return l.name == layer.name; });
      if (same == integers.end()) continue;
      const auto x = layer.codes.values<std::int32_t>();
      const std::int32_t* const y = same->codes.data<std::int32_t>();  // of images and perhaps extremes
      distance_.codes += static_cast<std::int64_t>(x.size());
      for (std::size_t i = 0; i < x.size(); ++i) distance_.differing_codes += x[i] != y[i];
    }
  }

  const quant::IntModel& model_;
  const quant::IntModel graph_;
  nn::Sequential* network_;
  const RawImages& images_;
  const Tensor& pixels_;
  std::vector<quant::IntEngine> engines_;
  std::vector<quant::Comparison> comparisons_;  // of the deploy graph, then of each engine
  quant::TraceHashes hashes_;
  std::vector<std::int32_t> logits_;
  FakeQuantDistance distance_;
  std::int64_t correct_ = 0, ties_ = 0;
  std::map<std::string, std::pair<std::int64_t, std::int64_t>> sums_;
  std::mutex mutex_, network_mutex_;
};

struct CAnswers {
  CProgram::Output output;
  bool passes_self_test;
};

// None without a compiler.
std::optional<CAnswers> run_c_program(const quant::IntModel& model, const Tensor& pixels,
                                      const Tensor& self_test, const CToolchain& tools) {
  if (!c_compiler_available(tools)) return std::nullopt;
  const CProgram program(model, quant::export_c(model, "model", self_test, ""), "model", tools);
  return CAnswers{program.run(pixels), program.self_test()};
}

// The exported program keeps its integers to itself: hashes of each image and tensor are compared.
Producer compare(const std::optional<CAnswers>& answers, const quant::TraceHashes& hashes,
                 const std::vector<std::int32_t>& logits, std::int64_t images) {
  Producer producer;
  producer.name = "C program";
  if (!answers) {
    producer.skipped = "no C compiler here (cc, or $CC)";
    return producer;
  }
  const CProgram::Output& output = answers->output;
  const std::int64_t classes = static_cast<std::int64_t>(logits.size()) / images;
  const auto note = [&](const std::string& tensor, std::int64_t image, std::int64_t index,
                        std::int32_t expected, std::int32_t found) {
    ++producer.differing;
    if (!producer.first) producer.first = {tensor, image, index, expected, found};
  };
  for (std::int64_t i = 0; i < images; ++i) {
    for (std::size_t t = 0; t < hashes.tensors(); ++t) {
      ++producer.integers;
      if (output.hashes[static_cast<std::size_t>(i) * hashes.tensors() + t] != hashes.at(t, i))
        note(hashes.name(t), i, -1, 0, 0);
    }
    for (std::int64_t j = 0; j < classes; ++j) {
      ++producer.integers;
      const auto at = static_cast<std::size_t>(i * classes + j);
      if (output.logits[at] != logits[at]) note("logits", i, j, logits[at], output.logits[at]);
    }
  }
  if (!answers->passes_self_test) note("self test", 0, -1, 0, 0);
  return producer;
}

std::vector<LayerProof> layers_of(const quant::IntModel& model, const quant::TraceHashes& hashes) {
  std::vector<LayerProof> layers{{"input", {}, {}, {}}};
  quant::CodeFormat format = model.input.format;
  for (const quant::IntLayer& layer : model.layers) {
    LayerProof proof{quant::name_of(layer), {}, {}, {}};
    if (const auto* product = std::get_if<quant::IntProduct>(&layer))
      proof.bounds = quant::bounds_of(*product, format);
    format = quant::output_format(layer, format);
    layers.push_back(proof);
  }
  for (LayerProof& layer : layers)
    for (std::size_t t = 0; t < hashes.tensors(); ++t) {
      if (hashes.name(t) == layer.name + " accumulators") layer.sums_sha256 = hashes.sha256_of(t);
      if (hashes.name(t) == layer.name + " codes") layer.codes_sha256 = hashes.sha256_of(t);
    }
  return layers;
}

}  // namespace

bool Proof::is_green() const {
  return std::all_of(producers.begin(), producers.end(), [](const Producer& p) { return p.differing == 0; });
}

Proof prove(const quant::IntModel& model, nn::Sequential* network, const RawImages& images,
            const CToolchain& c_tools) {
  Proof proof;
  const Tensor extremes = quant::extreme_images(model);
  const Tensor pixels = with_extremes(images.pixels, extremes);
  // Meanwhile: a process of its own, with one thread.
  std::future<std::optional<CAnswers>> c_answers = std::async(std::launch::async, [&] {
    return run_c_program(model, pixels, extremes.narrow(0, 0, 2).contiguous(), c_tools);
  });
  Prover prover(model, network, images, pixels);
  prover.run();
  proof.model_sha256 = quant::sha256_of(model);
  proof.certificate = prover.hashes().sha256_of_all();
  proof.images = images.size();
  proof.extremes = extremes.size(0);
  proof.layers = layers_of(model, prover.hashes());
  prover.report(proof);
  proof.producers.push_back(compare(c_answers.get(), prover.hashes(), prover.logits(), pixels.size(0)));
  return proof;
}

}  // namespace nibble
