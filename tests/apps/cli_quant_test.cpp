// ptq, qat, sweep and inspect as a user meets them.
#include <algorithm>
#include <filesystem>
#include <string>
#include <vector>

#include "apps/training/run.h"
#include "quant/inspect.h"
#include "tensor/safetensors.h"
#include "tests/apps/cli_support.h"
#include "tests/support/catch.h"

namespace nibble::test {
namespace {

using Arguments = std::vector<std::string>;

Outcome run_with(const Workspace& workspace, Arguments arguments, const Arguments& more) {
  arguments.insert(arguments.end(), more.begin(), more.end());
  return workspace.run(arguments);
}

}  // namespace

TEST_CASE("every kind of quantized checkpoint evaluates to what its command printed") {
  const Workspace workspace;
  const std::string start = workspace.trained("fp.safetensors"), out = workspace.file("q.safetensors");
  const Arguments flags = GENERATE(
      Arguments{}, Arguments{"--act-bits", "4"},
      Arguments{"--weight-bits", "2", "--act-bits", "2", "--bias-bits", "8"}, Arguments{"--weight-bits", "1"},
      Arguments{"--weight-bits", "1", "--act-bits", "1"}, Arguments{"--weight-bits", "32", "--act-bits", "8"},
      Arguments{"--weight-quant", "channel-float", "--act-quant", "fixed", "--act-bits", "8", "--bias-bits",
                "none"},
      Arguments{"--weight-quant", "channel-fixed", "--act-bits", "3", "--bias-bits", "32", "--calibrate-on",
                "test"});
  for (const Arguments& command : {Arguments{"ptq"}, Arguments{"qat", "--epochs", "1"}}) {
    Arguments arguments = command;
    arguments.insert(arguments.end(), {"--from", start, "--out", out});
    const Outcome made = run_with(workspace, arguments, flags);
    INFO(made.err);
    REQUIRE(made.code == 0);
    const Outcome eval = workspace.run({"eval", out});
    CHECK(eval.code == 0);
    CHECK(eval.out == last_lines(made.out, 2));
  }
}

TEST_CASE("a network has no more codes than its bits allow, and its checkpoint says how it was built") {
  const Workspace workspace;
  const std::string start = workspace.trained("fp.safetensors"), out = workspace.file("q.safetensors");
  const int bits = GENERATE(1, 2, 4);
  REQUIRE(workspace
              .run({"qat", "--from", start, "--out", out, "--epochs", "1", "--weight-bits",
                    std::to_string(bits), "--act-bits", "4"})
              .code == 0);
  Run run = load_run(out);
  CHECK(run.spec.weight_bits == bits);
  CHECK(run.spec.act_bits == 4);
  CHECK(run.spec.bias_bits == 16);
  CHECK(run.epochs == 2);
  const auto codes = quant::distinct_codes(run.model);
  CHECK(codes.size() == 3);
  for (const auto& [layer, count] : codes) {
    INFO(layer);
    CHECK(count >= 1);
    CHECK(count <= 1 << bits);
  }
}

TEST_CASE("quantized training does not depend on the thread count either") {
  const Workspace workspace;
  const std::string start = workspace.trained("fp.safetensors");
  const auto bytes = [&](const std::string& command, const std::string& threads) {
    const std::string out = workspace.file(command + threads);
    const Outcome outcome = workspace.run(
        {command, "--from", start, "--epochs", "1", "--act-bits", "4", "--threads", threads, "--out", out});
    REQUIRE(outcome.code == 0);
    return read_text(out);
  };
  CHECK(bytes("ptq", "1") == bytes("ptq", "2"));
  CHECK(bytes("qat", "1") == bytes("qat", "2"));
}

TEST_CASE("ptq without a start checkpoint trains in float first") {
  const Workspace workspace;
  const std::string out = workspace.file("q.safetensors");
  REQUIRE(workspace.run({"ptq", "--epochs", "2", "--out", out}).code == 0);
  CHECK(load_run(out).epochs == 2);
}

TEST_CASE("impossible widths and starts are refused in one line") {
  const Workspace workspace;
  const auto [flags, named] = GENERATE(table<Arguments, std::string>({
      {{"--weight-bits", "0"}, "--weight-bits"},
      {{"--weight-bits", "17"}, "--weight-bits"},
      {{"--act-bits", "0"}, "--act-bits"},
      {{"--act-bits", "33"}, "--act-bits"},
      {{"--bias-bits", "7"}, "--bias-bits"},
      {{"--bias-bits", "16"}, "--bias-bits"},
      {{"--weight-quant", "round"}, "--weight-quant"},
      {{"--act-quant", "channel-fixed"}, "--act-quant"},
      {{"--calibrate-on", "both"}, "--calibrate-on"},
      {{"--from", "model.pth"}, "pth2safetensors.py"},
  }));
  check_fails(run_with(workspace, {"ptq"}, flags), named);
  check_fails(run_with(workspace, {"qat"}, flags), named);
}

TEST_CASE("ptq refuses a network that is quantized already") {
  const Workspace workspace;
  const std::string out = workspace.file("q.safetensors");
  REQUIRE(workspace.run({"ptq", "--epochs", "0", "--out", out}).code == 0);
  check_fails(workspace.run({"ptq", "--from", out}), "quantized already");
}

TEST_CASE("sweep trains one network for each pair of widths, the same one after the other or side by side") {
  const Workspace workspace;
  const std::string start = workspace.trained("fp.safetensors"), out = workspace.file("sweep");
  const auto sweep = [&](const std::string& folder, const std::string& threads) {
    return workspace.run({"sweep", "--from", start, "--epochs", "1", "--act-bits", "2,8", "--weight-bits",
                          "4,8", "--out", folder, "--threads", threads});
  };
  const Outcome outcome = sweep(out, "3"), one_by_one = sweep(out + "1", "1");
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(std::count(outcome.out.begin(), outcome.out.end(), '\n') == 5);
  CHECK(outcome.out == one_by_one.out);
  for (const int act_bits : {2, 8}) {
    for (const int weight_bits : {4, 8}) {
      const std::string file =
          "/sweep-a" + std::to_string(act_bits) + "w" + std::to_string(weight_bits) + ".safetensors";
      CHECK(read_text(out + file) == read_text(out + "1" + file));
      const Run run = load_run(out + file);
      CHECK(run.spec.act_bits == act_bits);
      CHECK(run.spec.weight_bits == weight_bits);
      CHECK(run.spec.bias_bits == 16);
    }
  }
  check_fails(workspace.run({"sweep", "--from", start, "--act-bits", "2,0"}), "--act-bits");
  check_fails(workspace.run({"sweep", "--from", start, "--weight-bits", "2,4,2"}), "--weight-bits: 2");
}

TEST_CASE("inspect shows weights, codes, scale and differences") {
  const Workspace workspace;
  const std::string path = workspace.trained("fp.safetensors");
  const Outcome outcome = nibble_program({"inspect", path, "conv1", "--bits", "4"});
  REQUIRE(outcome.code == 0);
  for (const char* part : {"integer codes", "scale 0.", "bit width 4", "difference", "max", "min", "mean"}) {
    INFO(part);
    CHECK(outcome.out.find(part) != std::string::npos);
  }
  CHECK(nibble_program({"inspect", path, "linear"}).out.find("...") != std::string::npos);
  check_fails(nibble_program({"inspect", path, "conv9"}), "conv1 conv2 linear");
  check_fails(nibble_program({"inspect", path, "conv1", "--bits", "40"}), "40");
  check_fails(nibble_program({"inspect"}), "--demo-act");
}

TEST_CASE("inspect --demo-act quantizes ten numbers") {
  const Outcome outcome = nibble_program({"inspect", "--demo-act", "--bits", "2"});
  CHECK(outcome.code == 0);
  CHECK(outcome.out.find("scale 0.5") != std::string::npos);
  CHECK(outcome.out.find("codes            -2       -2       -1       -1        0        0        1") !=
        std::string::npos);
  check_fails(nibble_program({"inspect", "--demo-act", "--bits", "1"}), "1");
}

}  // namespace nibble::test
