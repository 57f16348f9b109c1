#include "apps/lab/report.h"

#include <nlohmann/json.hpp>

#include "apps/plot/canvas.h"
#include "apps/plot/chart.h"
#include "tensor/atomic_file.h"
#include "tests/support/catch.h"

using namespace nibble;
namespace fs = std::filesystem;

namespace {

RunRecord run(const std::string& name, int weight_bits, int act_bits, std::int64_t correct,
              std::vector<int> dead = {5}) {
  RunRecord r;
  r.name = name;
  r.weight_bits = weight_bits;
  r.act_bits = act_bits;
  r.epochs = 6;
  r.correct = correct;
  r.samples = 10000;
  r.dead_classes = std::move(dead);
  r.weight_bytes = 9064.0 * weight_bits / 8;
  r.activation_bytes = 12554.0 * act_bits / 8;
  r.history = {{4, 1.7, 0.7, 1.6, 0.75}, {5, 1.65, 0.8, 1.58, 0.82}};
  r.model_file = name + ".safetensors";
  return r;
}

LabResults lab() {
  LabResults r;
  r.dataset = "MNIST";
  r.sha256 = {{"train-images-idx3-ubyte", "00"}};
  r.isa = "sse2";
  r.runs = {run("fp32-e3", 32, 32, 8450),      run("fp32-e6", 32, 32, 8600),
            run("ptq-w4", 4, 32, 8500),        run("qat-w4", 4, 32, 8550),
            run("qat-w4a4b16", 4, 4, 8560),    run("sweep-a2w2", 2, 2, 8400),
            run("sweep-a4w4", 4, 4, 8560),     run("sweep-a8w8", 8, 8, 8570),
            run("sweep-a8w2", 2, 8, 9200, {}), run("fp32-e6-logits", 32, 32, 9660, {})};
  r.memory = {{"input", false, 784},
              {"conv1", true, 72},
              {"relu1", false, 6272},
              {"linear", true, 7840},
              {"linear", false, 10}};
  r.ptq.layers = {{"conv1", 0.25, {-0.5f, 0.1f, 0.6f}, {-0.5f, 0.0f, 0.5f}, 0.06, 0.1}};
  r.demo = {2, 0.5, {0.3f, -0.9f}, {0.5f, -1.0f}, {1, -2}};
  return r;
}

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/nibble_test_XXXXXX";
    path_ = mkdtemp(name);
  }
  ~Folder() { fs::remove_all(path_); }
  std::string read(const std::string& name) const {
    const auto bytes = read_file(path_ / name);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

std::string report_of(const LabResults& results) {
  const Folder folder;
  write_report(folder.path(), results);
  return folder.read("report.md");
}

bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("Wilson's interval at known proportions") {
  const auto half = wilson95(50, 100);
  CHECK(half[0] == Approx(0.40383).margin(1e-5));
  CHECK(half[1] == Approx(0.59617).margin(1e-5));
  CHECK(wilson95(0, 10)[0] == 0);
  CHECK(wilson95(0, 10)[1] == Approx(0.27753).margin(1e-5));
  CHECK(wilson95(10, 10)[1] == Approx(1));
  CHECK(wilson95(0, 0) == std::array<double, 2>{0, 1});
}

TEST_CASE("the Pareto front holds what nothing smaller beats, of the sweep and the float network") {
  CHECK(lab().pareto() == std::vector<std::string>{"sweep-a2w2", "sweep-a4w4", "sweep-a8w2"});
  LabResults r;
  CHECK(r.pareto().empty());
  r.runs = {run("sweep-a4w4", 4, 4, 8000), run("sweep-a8w8", 8, 8, 8000), run("fp32-e6", 32, 32, 8001),
            run("qat-w4", 1, 1, 9999)};
  CHECK(r.pareto() == std::vector<std::string>{"sweep-a4w4", "fp32-e6"});
}

TEST_CASE("results.json has the keys of schema 1") {
  const Folder folder;
  write_results(folder.path() / "results.json", lab());
  const auto json = nlohmann::ordered_json::parse(folder.read("results.json"));
  const auto keys = [](const nlohmann::ordered_json& object) {
    std::vector<std::string> names;
    for (const auto& [key, value] : object.items()) names.push_back(key);
    return names;
  };
  CHECK(keys(json) ==
        std::vector<std::string>{"schema", "dataset", "seed", "threads", "isa", "runs", "pareto"});
  CHECK(keys(json["dataset"]) == std::vector<std::string>{"name", "sha256"});
  CHECK(keys(json["runs"][0]) == std::vector<std::string>{"name", "weight_bits", "act_bits", "bias_bits",
                                                          "epochs", "test_accuracy", "test_loss",
                                                          "accuracy_ci95", "dead_classes", "weight_bytes",
                                                          "activation_bytes", "train_seconds",
                                                          "distinct_codes", "history", "model_file"});
  CHECK(keys(json["runs"][0]["history"][0]) ==
        std::vector<std::string>{"epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy"});
  CHECK(json["runs"][0]["accuracy_ci95"].size() == 2);
  CHECK_THROWS_WITH(write_results(folder.path() / "none" / "results.json", lab()),
                    Catch::Contains("none/results.json"));
}

TEST_CASE("the report answers the notebook under its headings") {
  const std::string text = report_of(lab());
  for (const char* part :
       {"## 1. The float network", "## 2. Quantization after training", "How much memory was saved",
        "8 times less", "## 3.", "## 4.", "Why Uint8", "## 5.", "## 6.", "## 7. What is the best option",
        "## 8.", "## 9.", "(curves.png)", "(weights.png)", "(sweep.png)", "## 10. Beside PyTorch"})
    CHECK(contains(text, part));
  CHECK(contains(
      text,
      "qat-w4 against fp32-e6 (same dead digits): -0.50 points; the intervals overlap, no difference shown"));
}

TEST_CASE("the report says what runs in integers, how fast, and whether it is the same") {
  LabResults r = lab();
  IntegerNetwork network;
  network.of = "qat-w4a4b16";
  network.model_file = "int-w4a4b16.nbq";
  network.record = {6000, 8500, 10000, 300000};
  network.float_bytes = 36000;
  network.float_images_per_second = 150000;
  network.certificate = "c0ffee";
  network.compared = {"tier avx2", "C program"};
  network.integers = 12345;
  network.green = true;
  r.integers = network;
  std::string text = report_of(r);
  for (const char* part :
       {"## 10. What runs in the end", "6.0 times smaller", "2.00 times faster", "12345 integers",
        "tier avx2, C program", "None differs", "c0ffee", "## 11. Beside PyTorch"})
    CHECK(contains(text, part));
  r.integers->green = false;
  CHECK(contains(report_of(r), "**They differ**"));
}

TEST_CASE("runs that lost different classes are not compared") {
  LabResults r = lab();
  r.runs[3].dead_classes = {5, 8};
  const std::string text = report_of(r);
  CHECK(contains(text, "qat-w4 and fp32-e6 cannot be compared: their dead digits differ (5 and 8; 5)"));
  CHECK(contains(text, "| qat-w4 | 0.8550 | 0.856 | not comparable: 2 dead |"));
  // The row that kept every digit is not the answer, though it is the most accurate.
  CHECK(contains(text, "The most accurate is sweep-a8w8"));
}

TEST_CASE("of another data set the report says so, and nothing of MNIST") {
  LabResults r = lab();
  r.dataset = "Fashion-MNIST";
  const std::string text = report_of(r);
  CHECK(contains(text, "not MNIST but Fashion-MNIST"));
  CHECK_FALSE(contains(text, "digit"));
  CHECK_FALSE(contains(text, "Beside PyTorch"));
  r.dataset = "unknown";
  CHECK(contains(report_of(r), "not known by its hashes"));
}

TEST_CASE("a quick or partial lab still gives a report") {
  LabResults r = lab();
  r.quick = true;
  r.runs.resize(2);
  const std::string text = report_of(r);
  CHECK(contains(text, "A quick run"));
  CHECK_FALSE(contains(text, "## 6."));
  CHECK_FALSE(contains(text, "Beside PyTorch"));
  report_of(LabResults{});
}

TEST_CASE("ticks are round numbers that cover the range") {
  CHECK(nice_ticks(0, 10, 5) == std::vector<double>{0, 2, 4, 6, 8, 10});
  const auto ticks = nice_ticks(0.8379, 0.8893, 6);
  CHECK(ticks.front() <= 0.8379);
  CHECK(ticks.back() >= 0.8893);
  CHECK(nice_ticks(1, 1, 5).size() > 1);
}

TEST_CASE("a canvas draws smooth lines and readable text, and saves a PNG") {
  Canvas canvas(60, 40);
  canvas.line(5, 20, 55, 20, 2, colors::blue);
  canvas.text(5, 2, "A", colors::black);
  CHECK(canvas.pixel(30, 20).b == colors::blue.b);
  CHECK(canvas.pixel(30, 30).r == 255);
  int dark = 0;
  for (int y = 0; y < 18; ++y)
    for (int x = 0; x < 20; ++x) dark += canvas.pixel(x, y).r < 128;
  CHECK(dark > 10);
  canvas.line(-100, -100, 1000, 500, 3, colors::green);  // clipped
  const Folder folder;
  canvas.save(folder.path() / "picture.png");
  CHECK(folder.read("picture.png").substr(1, 3) == "PNG");
  CHECK_THROWS_WITH(canvas.save(folder.path() / "none" / "picture.png"), Catch::Contains("none/picture.png"));
}
