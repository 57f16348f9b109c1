// nibble lab, end to end on a tiny data set.
#include <signal.h>

#include <chrono>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <thread>

#include "tests/apps/cli_support.h"
#include "tests/support/catch.h"

namespace nibble::test {

TEST_CASE("a quick lab writes every file, and its results are those of its checkpoints") {
  const Workspace workspace;
  const std::string out = workspace.file("lab");
  const Outcome outcome = workspace.run({"lab", "--quick", "--out", out, "--seed", "3"});
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(outcome.out.find("6/6") != std::string::npos);
  for (const char* name :
       {"report.md", "curves.png", "weights.png", "sweep.png", "sweep_time.png", "int-w4a4b16.nbq"}) {
    INFO(name);
    CHECK(std::filesystem::file_size(out + "/" + name) > 500);
  }

  const auto results = nlohmann::json::parse(read_text(out + "/results.json"));
  CHECK(results["schema"] == 1);
  CHECK(results["seed"] == 3);
  CHECK(results["dataset"]["sha256"].size() == 4);
  const auto integers = results["int-w4a4b16"];
  CHECK(integers["green"] == true);
  CHECK(integers["certificate"].get<std::string>().size() == 64);
  CHECK(integers["file_bytes"] == std::filesystem::file_size(out + "/int-w4a4b16.nbq"));
  CHECK(integers["file_bytes"] <= 6 * 1024);
  CHECK(integers["images_per_second"] > 0);
  CHECK(integers["speedup_vs_fp32"] > 0);
  std::set<std::string> names;
  for (const auto& run : results["runs"]) {
    const std::string name = run["name"];
    INFO(name);
    names.insert(name);
    const bool continues = name != "fp32-e3" && name != "fp32-e3-logits";
    CHECK(run["epochs"] == (continues ? 2 : 1));
    CHECK(run["history"].size() == (name == "ptq-w4" ? 0 : 1));
    const int bits = run["weight_bits"];
    CHECK(run["distinct_codes"].size() == (bits == 32 ? 0 : 3));
    for (const auto& [layer, codes] : run["distinct_codes"].items()) CHECK(codes <= 1 << bits);
    CHECK(run.contains("integers") == (name.rfind("sweep-", 0) == 0));
    const std::string model = run["model_file"];
    const Outcome eval = workspace.run({"eval", out + "/" + model});
    REQUIRE(eval.code == 0);
    CHECK(std::stod(eval.out.substr(eval.out.find(' '))) ==
          Approx(double{run["test_accuracy"]}).margin(1e-9));
  }
  CHECK(names == std::set<std::string>{"fp32-e3", "fp32-e6", "ptq-w4", "qat-w4", "qat-w4a4b16", "sweep-a2w2",
                                       "sweep-a4w4", "sweep-a8w8", "fp32-e3-logits", "fp32-e6-logits",
                                       "qat-w4a4b16-logits"});
  CHECK(read_text(out + "/sweep-a4w4.safetensors") != read_text(out + "/qat-w4a4b16.safetensors"));
}

TEST_CASE("the lab's first network is that of nibble train with the same seed") {
  const Workspace workspace;
  const std::string out = workspace.file("lab");
  REQUIRE(workspace.run({"lab", "--quick", "--out", out}).code == 0);
  CHECK(read_text(out + "/fp32-e3.safetensors") == read_text(workspace.trained("same.safetensors")));
}

TEST_CASE("an interrupted lab exits with 130 and leaves finished checkpoints that load") {
  const Workspace workspace;
  const std::string out = workspace.file("lab"), first = out + "/fp32-e6.safetensors";
  Process process({"lab", "--epochs", "20", "--out", out, "--data", workspace.data()});
  while (!std::filesystem::exists(first)) {
    REQUIRE(process.running());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  process.signal(SIGINT);
  CHECK(process.wait().code == 130);
  CHECK(workspace.run({"eval", out + "/fp32-e3.safetensors"}).code == 0);
  CHECK(workspace.run({"eval", first}).code == 0);
  CHECK_FALSE(std::filesystem::exists(out + "/results.json"));
}

TEST_CASE("the lab refuses an output folder that cannot be made") {
  const Workspace workspace;
  check_fails(workspace.run({"lab", "--quick", "--out", workspace.data() + "/t10k-images-idx3-ubyte/out"}),
              "out");
}

}  // namespace nibble::test
