#include "apps/lab/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "apps/lab/figures.h"
#include "tensor/atomic_file.h"

namespace nibble {
namespace {

double kib(double bytes) { return bytes / 1024; }

// "digit 5", "digits 5 and 8", "classes 0, 1 and 5"
std::string class_names(const std::vector<int>& classes, const char* singular, const char* plural) {
  std::string text = classes.size() == 1 ? singular : plural;
  for (std::size_t i = 0; i < classes.size(); ++i)
    text += (i == 0 ? " " : i + 1 == classes.size() ? " and " : ", ") + std::to_string(classes[i]);
  return text;
}

// What PyTorch and Brevitas reached on the same lab in runs with exactly one dead class; QAT rows of the
// sweep with weights of 4 and 8 bits: mean over such seeds. Measured on 2026-11-23 with PyTorch 1.13.1 and
// Brevitas 0.12.1.
struct Reference {
  const char* run;
  double accuracy;
};
constexpr Reference kReference[] = {{"fp32-e3", 0.844},     {"fp32-e6", 0.861},     {"ptq-w4", 0.850},
                                    {"qat-w4", 0.856},      {"qat-w4a4b16", 0.857}, {"sweep-a2w4", 0.845},
                                    {"sweep-a2w8", 0.8485}, {"sweep-a4w4", 0.857},  {"sweep-a4w8", 0.855},
                                    {"sweep-a8w4", 0.8565}, {"sweep-a8w8", 0.8605}};

class Report {
 public:
  explicit Report(const LabResults& results)
      : r_(results),
        is_mnist_(results.dataset == "MNIST"),
        singular_(is_mnist_ ? "digit" : "class"),
        plural_(is_mnist_ ? "digits" : "classes") {}

  std::string write() {
    title();
    float_network();
    post_training();
    qat_weights();
    demo();
    qat_extended();
    sweep();
    best_option();
    double_softmax();
    where_the_notebook_is_wrong();
    integers();
    if (is_mnist_) reference();
    memory();
    return text_;
  }

 private:
  template <class... Args>
  void say(fmt::format_string<Args...> format, Args&&... args) {
    text_ += fmt::format(format, std::forward<Args>(args)...);
    text_ += "\n";
  }

  std::string accuracy(const RunRecord& run) const {
    const auto [low, high] = run.accuracy_ci95();
    return fmt::format("{:.4f} [{:.4f}, {:.4f}]", run.accuracy(), low, high);
  }
  std::string dead(const RunRecord& run) const {
    return run.dead_classes.empty() ? "none" : class_names(run.dead_classes, "", "").substr(1);
  }

  void table_head() {
    say("| run | epochs | test accuracy [95 %] | test loss | dead {} |", plural_);
    say("|---|---|---|---|---|");
  }
  void table_row(const RunRecord& run) {
    say("| {} | {} | {} | {:.4f} | {} |", run.name, run.epochs, accuracy(run), run.test_loss, dead(run));
  }
  void table(std::initializer_list<const char*> names) {
    table_head();
    for (const char* name : names)
      if (const RunRecord* run = r_.find(name)) table_row(*run);
    say("");
  }

  // A sentence on two runs, or on why they cannot be compared.
  void compare(const char* name, const char* baseline) {
    const RunRecord *run = r_.find(name), *base = r_.find(baseline);
    if (run == nullptr || base == nullptr) return;
    if (run->dead_classes != base->dead_classes) {
      say("{} and {} cannot be compared: their dead {} differ ({}; {}), and losing or regaining a whole {} "
          "moves the accuracy by "
          "about a tenth, whatever the bits.\n",
          name, baseline, plural_, dead(*run), dead(*base), singular_);
      return;
    }
    const double difference = 100 * (run->accuracy() - base->accuracy());
    const auto a = run->accuracy_ci95(), b = base->accuracy_ci95();
    const bool overlap = a[0] <= b[1] && b[0] <= a[1];
    say("{} against {} (same dead {}): {:+.2f} points{}.\n", name, baseline, plural_, difference,
        overlap ? "; the intervals overlap, no difference shown" : "");
  }

  void title() {
    say("# Quantization lab\n");
    if (r_.quick)
      say("**A quick run**: few images and epochs. It shows that everything works; its accuracies mean "
          "little.\n");
    if (!is_mnist_)
      say("**The data set is not MNIST but {}**: the figures below are not comparable with those of the "
          "notebook.\n",
          r_.dataset == "unknown" ? "one that is not known by its hashes" : r_.dataset.c_str());
    say("Data set {}, {} training and {} test images, seed {}, {} thread{}, {} kernels. Training and test "
        "images are mirrored and "
        "rotated; the test images are frozen by their own seed. Intervals are Wilson's, 95 %. A dead {} is "
        "one of which less than "
        "5 % is recognised.\n",
        r_.dataset, r_.train_images, r_.test_images, r_.seed, r_.threads, r_.threads == 1 ? "" : "s", r_.isa,
        singular_);
  }

  void float_network() {
    say("## 1. The float network\n");
    say("Convolution 1->8, convolution 8->16, linear 784->10, softmax in the model and cross entropy on its "
        "output; SGD with "
        "momentum.\n");
    table({"fp32-e3", "fp32-e6"});
    say("![Loss and accuracy by epoch](curves.png)\n");
    const RunRecord* run = r_.find("fp32-e6");
    if (run == nullptr) run = r_.find("fp32-e3");
    if (run != nullptr && !run->dead_classes.empty())
      say("The network hardly ever recognises {}: see section 8.\n",
          class_names(run->dead_classes, singular_, plural_));
  }

  void post_training() {
    const RunRecord *ptq = r_.find("ptq-w4"), *base = r_.find("fp32-e6");
    if (ptq == nullptr) return;
    say("## 2. Quantization after training, 4-bit weights\n");
    say("Power-of-two scales, one per layer: 2^ceil(log2 max|w|) / 8. Codes are -7..7.\n");
    if (!r_.ptq.layers.empty()) {
      say("| layer | scale | codes in use | mean of (before - after) | largest difference |");
      say("|---|---|---|---|---|");
      for (const auto& layer : r_.ptq.layers) {
        const auto codes = ptq->distinct_codes.find(layer.name);
        say("| {} | {} | {} | {:.5f} | {:.5f} |", layer.name, layer.scale,
            codes == ptq->distinct_codes.end() ? 0 : codes->second, layer.mean_difference,
            layer.max_difference);
      }
      say("\n![Weights before and after](weights.png)\n");
    }
    say("**Calibration** sets scales of activations from data. This model quantizes weights alone, whose "
        "scales follow from the "
        "weights, so calibration changes nothing here. **Bias correction** adds to each bias the mean "
        "difference between the float "
        "and the quantized output of its layer; both use six batches of {} images.\n",
        r_.ptq.calibrated_on == "test" ? "test" : "training");
    say("Accuracy with quantized weights {:.4f}, after bias correction {}.\n",
        r_.ptq.accuracy_before_correction, accuracy(*ptq));
    compare("ptq-w4", "fp32-e6");
    if (base != nullptr)
      say("**How much memory was saved?** The weights take {:.2f} KiB instead of {:.2f} KiB: {:.0f} times "
          "less. (Activations are "
          "still float: {:.2f} KiB.)\n",
          kib(ptq->weight_bytes), kib(base->weight_bytes), base->weight_bytes / ptq->weight_bytes,
          kib(ptq->activation_bytes));
  }

  void qat_weights() {
    if (r_.find("qat-w4") == nullptr) return;
    say("## 3. Quantization-aware training, 4-bit weights\n");
    say("From the float network after its first stage, with a fresh optimizer: forward passes use quantized "
        "weights, gradients pass "
        "straight through the rounding.\n");
    table({"qat-w4"});
    compare("qat-w4", "fp32-e6");
    compare("qat-w4", "ptq-w4");
  }

  void demo() {
    if (r_.demo.input.empty()) return;
    say("## 4. What QuantIdentity does to ten numbers\n");
    say("Signed, {} bits, scale {}:\n", r_.demo.bits, r_.demo.scale);
    say("| input | code | output |");
    say("|---|---|---|");
    for (std::size_t i = 0; i < r_.demo.input.size(); ++i)
      say("| {:.4f} | {} | {:.4f} |", r_.demo.input[i], r_.demo.codes[i], r_.demo.output[i]);
    say("\n{} bits leave {} levels; signed ones reach from {} to {} and are not symmetric.\n", r_.demo.bits,
        1 << r_.demo.bits, -(1 << (r_.demo.bits - 1)), (1 << (r_.demo.bits - 1)) - 1);
    say("**Why Uint8 for the output of ReLU?** It is never negative: a signed code would leave half of its "
        "values unused, an unsigned "
        "one spends all of them on what occurs, which is one bit of precision more for the same width. (The "
        "network's input quantizer "
        "is signed although pixels lie in 0..1, so half of its codes are wasted: at 4 bits it distinguishes "
        "8 levels, at 2 bits "
        "two.)\n");
  }

  void qat_extended() {
    const RunRecord* const run = r_.find("qat-w4a4b16");
    if (run == nullptr) return;
    say("## 5. Quantization-aware training, 4-bit weights and activations, {}-bit biases\n", run->bias_bits);
    say("Activation scales are statistics of the batch for 300 steps, then parameters that are trained. A "
        "bias takes the scale of its "
        "input times that of its weight.\n");
    table({"qat-w4a4b16"});
    compare("qat-w4a4b16", "fp32-e6");
    compare("qat-w4a4b16", "qat-w4");
  }

  std::vector<const RunRecord*> sweep_runs() const {
    std::vector<const RunRecord*> runs;
    for (const RunRecord& run : r_.runs)
      if (run.name.rfind("sweep-", 0) == 0) runs.push_back(&run);
    return runs;
  }

  void sweep() {
    const auto runs = sweep_runs();
    if (runs.empty()) return;
    say("## 6. Activation bits against weight bits\n");
    say("Each network is built with its widths and trained from the float network after its first stage, "
        "with {}-bit biases.\n",
        runs.front()->bias_bits);
    say("| activation bits | weight bits | test accuracy [95 %] | weights KiB | activations KiB | total KiB "
        "| dead {} |",
        plural_);
    say("|---|---|---|---|---|---|---|");
    for (const RunRecord* run : runs)
      say("| {} | {} | {} | {:.2f} | {:.2f} | {:.2f} | {} |", run->act_bits, run->weight_bits, accuracy(*run),
          kib(run->weight_bytes), kib(run->activation_bytes), kib(run->total_bytes()), dead(*run));
    say("\n![Memory against accuracy](sweep.png)\n");
  }

  void best_option() {
    const auto runs = sweep_runs();
    if (runs.empty()) return;
    say("## 7. What is the best option?\n");
    const auto front = r_.pareto();
    std::string names;
    for (const std::string& name : front) names += (names.empty() ? "" : ", ") + name;
    say("Nothing in the sweep, or the float network, beats these in both memory and accuracy (the Pareto "
        "front): {}.\n",
        names);
    // Only runs that lost the same classes say something about bits: the largest such group.
    std::map<std::vector<int>, std::vector<const RunRecord*>> groups;
    for (const RunRecord* run : runs) groups[run->dead_classes].push_back(run);
    const auto group = std::max_element(groups.begin(), groups.end(), [](const auto& a, const auto& b) {
                         return a.second.size() < b.second.size();
                       })->second;
    if (groups.size() > 1)
      say("The dead {} differ within the sweep: a run that happened to keep one more is ahead for that "
          "reason and not for its bits. The "
          "answer is therefore sought among the {} runs with the same ones ({}); other seeds may answer "
          "differently.\n",
          plural_, group.size(), dead(*group.front()));
    const RunRecord* best = *std::max_element(
        group.begin(), group.end(),
        [](const RunRecord* a, const RunRecord* b) { return a->accuracy() < b->accuracy(); });
    const RunRecord* smallest = best;  // the smallest whose interval reaches that of the most accurate
    for (const RunRecord* run : group)
      if (run->accuracy_ci95()[1] >= best->accuracy_ci95()[0] && run->total_bytes() < smallest->total_bytes())
        smallest = run;
    say("The most accurate is {} with {} at {:.2f} KiB.", best->name, accuracy(*best),
        kib(best->total_bytes()));
    if (smallest != best)
      say("The smallest whose interval overlaps with that is **{}**: {} at {:.2f} KiB. Between the two no "
          "difference in accuracy is "
          "shown, so it is the better choice where memory counts.\n",
          smallest->name, accuracy(*smallest), kib(smallest->total_bytes()));
    else
      say("No smaller one comes within its interval, so **{}** is the best of this run.\n", best->name);
  }

  void double_softmax() {
    const RunRecord *with = r_.find("fp32-e6"), *without = r_.find("fp32-e6-logits");
    if (without == nullptr) return;
    say("## 8. What the softmax in the model costs\n");
    say("Cross entropy takes logits and applies softmax itself. With a softmax in the model it is applied "
        "twice: outputs lie in 0..1, "
        "gradients are small and vanish where the network is surely wrong, and whole {} are never learned. "
        "The same network and "
        "training with the loss on the logits:\n",
        plural_);
    table({"fp32-e3", "fp32-e3-logits", "fp32-e6", "fp32-e6-logits", "qat-w4a4b16", "qat-w4a4b16-logits"});
    if (with != nullptr)
      say("The second softmax costs {:.1f} points of accuracy in float. That, not quantization, sets the "
          "level of all runs above.\n",
          100 * (without->accuracy() - with->accuracy()));
    compare("qat-w4a4b16-logits", "fp32-e6-logits");
  }

  void where_the_notebook_is_wrong() {
    say("## 9. Where the notebook is wrong\n");
    say("* Its sweep sets the bit widths after the layers are built, which changes nothing: all nine of its "
        "networks are W4A4. Here each "
        "is built with its own.");
    std::int64_t weights = 0, activations = 0, outputs = 0;
    for (const MemoryRow& row : r_.memory) {
      (row.is_weight ? weights : activations) += row.values;
      if (!row.is_weight) outputs = row.values;
    }
    if (weights > 0) {
      const auto wrong = [&](int a, int w) {
        return kib(static_cast<double>(weights * w + outputs * a) / 8);
      };
      const auto right = [&](int a, int w) {
        return kib(static_cast<double>(weights * w + activations * a) / 8);
      };
      say("* Its activation memory counts only the {} outputs of the network instead of the {} values that "
          "are stored: it ranks A8W2 "
          "({:.2f} KiB) below A2W4 ({:.2f} KiB), when it is {:.2f} against {:.2f} KiB.",
          outputs, activations, wrong(8, 2), wrong(2, 4), right(8, 2), right(2, 4));
    }
    say("* It calibrates and corrects biases on test images. This run used {} images{}.",
        r_.ptq.calibrated_on == "test" ? "test" : "training",
        r_.ptq.calibrated_on == "test" ? " as the notebook does, on request"
                                       : "; `--calibrate-on test` does what the notebook does");
    say("* It applies softmax twice (section 8); what it says of quantization compares networks that have "
        "lost whole {}.\n",
        plural_);
  }

  void integers() {
    if (!r_.integers) return;
    const IntegerNetwork& n = *r_.integers;
    const RunRecord* run = r_.find(n.of);
    say("## 10. What runs in the end: integers\n");
    say("{} lowered to integers alone, from raw pixels to logits (`{}`): packed weights, biases in units of "
        "the sums, "
        "and between layers one multiplication and one rounding. Nothing in it is a floating-point number, "
        "and it runs "
        "as such.\n",
        n.of, n.model_file);
    say("| | float32 | integers | |\n|---|---|---|---|");
    say("| parameters, bytes | {} | {} (the whole file) | {:.1f} times smaller |", n.float_bytes,
        n.record.file_bytes, static_cast<double>(n.float_bytes) / static_cast<double>(n.record.file_bytes));
    say("| images per second, one thread | {:.0f} | {:.0f} | {:.2f} times faster |",
        n.float_images_per_second, n.record.images_per_second, n.speedup());
    if (run != nullptr)
      say("| test accuracy (float: {} as trained) | {:.4f} | {:.4f} | |", n.of, run->accuracy(),
          n.record.accuracy());
    std::string compared;
    for (const std::string& name : n.compared) compared += (compared.empty() ? "" : ", ") + name;
    say("\n**Is it the network that was trained?** {} integers, every code and every sum of every layer on "
        "all test "
        "images, were compared with those of a plain reference: {}. {}. Certificate `{}`. Float fake "
        "quantization, which "
        "trained it, differs in {:.2f} of a million codes and in {} answer{}.\n",
        n.integers, compared, n.green ? "None differs" : "**They differ**", n.certificate,
        n.differing_per_million, n.changed_answers, n.changed_answers == 1 ? "" : "s");
    const auto runs = sweep_runs();
    if (runs.empty() || !runs.front()->integers) return;
    say("The networks of the sweep, lowered likewise:\n");
    say("| activation bits | weight bits | test accuracy in integers | file, bytes | images per second |");
    say("|---|---|---|---|---|");
    for (const RunRecord* r : runs)
      if (r->integers)
        say("| {} | {} | {:.4f} | {} | {:.0f} |", r->act_bits, r->weight_bits, r->integers->accuracy(),
            r->integers->file_bytes, r->integers->images_per_second);
    say("\n![Time against accuracy](sweep_time.png)\n");
    say("Fewer bits make this network smaller, not faster: its activations fit the first-level cache at 8 "
        "bits already, "
        "and an instruction that multiplies bytes does not mind how many of their bits are used. `nibble "
        "profile "
        "kernels` shows where fewer bits are faster: in layers whose weights do not fit a cache.\n");
  }

  void reference() {
    if (r_.quick) return;
    std::string rows;
    for (const Reference& reference : kReference) {
      const RunRecord* run = r_.find(reference.run);
      if (run == nullptr) continue;
      const bool comparable = run->dead_classes.size() == 1;
      rows +=
          fmt::format("| {} | {:.4f} | {:.3f} | {} |\n", reference.run, run->accuracy(), reference.accuracy,
                      comparable ? fmt::format("{:+.1f} points", 100 * (run->accuracy() - reference.accuracy))
                                 : fmt::format("not comparable: {} dead", run->dead_classes.size()));
    }
    if (rows.empty()) return;
    say("## {}. Beside PyTorch and Brevitas\n", r_.integers ? 11 : 10);
    say("The same lab with PyTorch 1.13.1 and Brevitas 0.12.1, runs with exactly one dead digit:\n");
    say("| run | here | reference | difference |\n|---|---|---|---|\n{}", rows);
  }

  void memory() {
    if (r_.memory.empty()) return;
    say("## Memory ledger\n");
    say("Values that have to be stored for one image; biases are ignored, and nothing is stored between a "
        "convolution and its ReLU.\n");
    say("| what | values | float KiB | 8 bits | 4 bits | 2 bits |");
    say("|---|---|---|---|---|---|");
    std::int64_t total = 0;
    const auto row = [&](const std::string& name, std::int64_t values) {
      const auto at = [&](int bits) { return kib(static_cast<double>(values) * bits / 8); };
      say("| {} | {} | {:.2f} | {:.2f} | {:.2f} | {:.2f} |", name, values, at(32), at(8), at(4), at(2));
    };
    for (const MemoryRow& entry : r_.memory) {
      row((entry.is_weight ? "weights of " : "activations after ") + entry.layer, entry.values);
      total += entry.values;
    }
    row("total", total);
  }

  const LabResults& r_;
  bool is_mnist_;
  const char *singular_, *plural_;
  std::string text_;
};

}  // namespace

void write_report(const std::filesystem::path& folder, const LabResults& results) {
  draw_curves(folder / "curves.png", results);
  draw_weights(folder / "weights.png", results);
  draw_sweep(folder / "sweep.png", results);
  draw_sweep_time(folder / "sweep_time.png", results);
  const std::string text = Report(results).write();
  write_file_atomically(folder / "report.md", std::as_bytes(std::span(text)));
}

}  // namespace nibble
