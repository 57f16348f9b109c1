#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "apps/proof/c_program.h"
#include "apps/proof/integer_network.h"
#include "apps/proof/proof.h"
#include "apps/training/run.h"
#include "quant/integer/model_file.h"
#include "tests/apps/cli_support.h"
#include "tests/support/catch.h"

namespace nibble {
namespace {

using test::check_fails;
using test::nibble_program;
using test::Outcome;
using test::Workspace;

// A quantized network of the workspace's tiny images, trained and lowered.
class Lowered {
 public:
  Lowered() {
    REQUIRE(workspace
                .run({"qat", "--epochs", "2", "--weight-bits", "4", "--act-bits", "4", "--no-augment",
                      "--logits", "--out", checkpoint})
                .code == 0);
    const Outcome lowered = nibble_program({"lower", checkpoint, "--out", model});
    INFO(lowered.err);
    REQUIRE(lowered.code == 0);
    CHECK(lowered.out.find("SHA-256") != std::string::npos);
  }

  const Workspace workspace;
  const std::string checkpoint = workspace.file("q.safetensors"), model = workspace.file("q.nbq");
};

TEST_CASE("a network goes from training to integers and answers the same") {
  const Lowered lowered;
  CHECK(std::filesystem::file_size(lowered.model) <= 6 * 1024);
  const Outcome in_float = lowered.workspace.run({"eval", lowered.checkpoint, "--no-augment"}),
                in_integers = lowered.workspace.run({"eval", lowered.model});
  REQUIRE(in_integers.code == 0);
  CHECK(in_float.out.substr(0, in_float.out.find('\n')) ==
        in_integers.out.substr(0, in_integers.out.find('\n')));

  const std::string json = lowered.workspace.file("proof.json");
  const Outcome proved =
      lowered.workspace.run({"prove", lowered.model, "--checkpoint", lowered.checkpoint, "--json", json});
  INFO(proved.out << proved.err);
  REQUIRE(proved.code == 0);
  const auto proof = nlohmann::json::parse(std::ifstream(json));
  CHECK(proof["green"] == true);
  CHECK(proof["producers"].size() >= 4);
  CHECK(proof["fake_quant"]["changed_answers"] == 0);

  const std::string source = lowered.workspace.file("digits.c");
  REQUIRE(nibble_program({"export", lowered.model, "--format", "c", "--out", source, "--proof", json}).code ==
          0);
  CHECK(test::read_text(source).find(proof["certificate"].get<std::string>()) != std::string::npos);

  const std::string image = lowered.workspace.data() + "/t10k-images-idx3-ubyte#7";
  const Outcome inferred = nibble_program({"infer", lowered.model, image, "--trace", "10,12"});
  INFO(inferred.err);
  REQUIRE(inferred.code == 0);
  for (const char* part :
       {"digit ", "confidence", "pixel (10, 12)", "conv1: channel", "pool2: largest", "linear: output"})
    CHECK(inferred.out.find(part) != std::string::npos);
}

TEST_CASE("an exported program compiles beside its header, whatever file it is in") {
  const Lowered lowered;
  for (const std::string file : {"digits.c", "my-digits.c"}) {
    INFO(file);
    const test::TempFolder folder;
    const Outcome outcome = nibble_program(
        {"export", lowered.model, "--format", "c", "--out", folder.file(file), "--name", "mnist"});
    INFO(outcome.out << outcome.err);
    REQUIRE(outcome.code == 0);
    CHECK(std::filesystem::exists(folder.file("mnist.h")));
    CHECK_FALSE(std::filesystem::exists(folder.file("digits.h")));
    if (!c_compiler_available()) {
      WARN("not compiled: there is no C compiler");
      continue;
    }
    const std::string compile = "${CC:-cc} -std=c99 -pedantic -Wall -Wextra -Werror -c '" +
                                folder.file(file) + "' -o '" + folder.file("mnist.o") + "'";
    CHECK(std::system(compile.c_str()) == 0);
  }
}

// The model with one number changed, which is not what the checkpoint says.
Outcome prove_changed(const Lowered& lowered, const std::function<void(quant::IntModel&)>& change) {
  quant::IntModel model = quant::load_nbq(lowered.model);
  change(model);
  const std::string path = lowered.workspace.file("changed.nbq");
  quant::save_nbq(path, model);
  return lowered.workspace.run({"prove", path, "--checkpoint", lowered.checkpoint, "--limit", "20"});
}

TEST_CASE("a changed weight or multiplier turns the certificate red at its layer") {
  const Lowered lowered;
  const auto conv = [](quant::IntModel& model, std::size_t layer) -> quant::IntProduct& {
    return std::get<quant::IntProduct>(model.layers[layer]);
  };
  SECTION("a weight of conv2") {
    const Outcome outcome = prove_changed(lowered, [&](quant::IntModel& model) {
      for (std::int8_t& w : conv(model, 2).weight.mutable_values<std::int8_t>())
        if (w > 0 && w < 7) {
          ++w;
          break;
        }
    });
    check_fails(outcome, "deploy graph: conv2 accumulators");
    CHECK(outcome.out.find("red: they differ") != std::string::npos);
  }
  SECTION("the multiplier of conv1") {
    check_fails(prove_changed(lowered,
                              [&](quant::IntModel& model) {
                                std::int32_t& m = conv(model, 0).multiplier[0];
                                m = m > (3 << 29) ? m - (1 << 28) : m + (1 << 28);
                              }),
                "deploy graph: conv1 codes");
  }
  SECTION("a bias of the last layer") {
    check_fails(prove_changed(lowered, [&](quant::IntModel& model) { ++conv(model, 5).bias[3]; }),
                "deploy graph: linear accumulators");
  }
}

TEST_CASE("it is the model that is proved, whatever the checkpoint beside it") {
  const Lowered lowered;
  const std::string other = lowered.workspace.file("other.safetensors");
  REQUIRE(lowered.workspace
              .run({"qat", "--epochs", "1", "--seed", "9", "--weight-bits", "4", "--act-bits", "4", "--out",
                    other})
              .code == 0);
  const auto prove = [&](const std::string& model, const std::string& checkpoint) {
    return lowered.workspace.run({"prove", model, "--checkpoint", checkpoint, "--limit", "20"});
  };
  CHECK(prove(lowered.checkpoint, lowered.checkpoint).code == 0);
  check_fails(prove(other, lowered.checkpoint), "not equal: deploy graph");
  check_fails(prove(lowered.workspace.file("none.safetensors"), lowered.checkpoint), "none.safetensors");
  check_fails(lowered.workspace.run({"prove", lowered.model, "--limit", "20", "--cc", "no-such-compiler"}),
              "no-such-compiler");
}

TEST_CASE("what cannot be lowered, proved, shown or exported is refused in one line") {
  const Workspace workspace;
  const std::string in_float = workspace.trained("fp.safetensors");
  check_fails(nibble_program({"lower", in_float}), "conv1");
  check_fails(nibble_program({"lower", in_float, "--out", workspace.file("x.bin")}), ".nbq");
  check_fails(nibble_program({"lower", workspace.file("none.safetensors")}), "none.safetensors");
  const std::string weights_only = workspace.file("w.safetensors");
  REQUIRE(workspace.run({"qat", "--epochs", "1", "--weight-bits", "4", "--out", weights_only}).code == 0);
  check_fails(nibble_program({"lower", weights_only}), "put a QuantIdentity first");

  const std::string hostile = workspace.file("hostile.nbq");
  std::ofstream(hostile) << "not a model at all, but long enough to have a header";
  check_fails(nibble_program({"lower", hostile}), "hostile.nbq");
  check_fails(workspace.run({"eval", hostile}), "hostile.nbq");
  check_fails(workspace.run({"prove", hostile}), "hostile.nbq");
  check_fails(nibble_program({"export", hostile, "--format", "c", "--out", workspace.file("m.c")}),
              "hostile.nbq");
  check_fails(nibble_program({"infer", hostile, "x.png"}), "hostile.nbq");

  const Lowered lowered;
  const std::string text = lowered.workspace.file("text.png");
  std::ofstream(text) << "text";
  check_fails(nibble_program({"infer", lowered.model, text}), "text.png: not a PNG picture");
  check_fails(nibble_program({"infer", lowered.model, lowered.workspace.file("none.png")}), "none.png");
  const std::string images = lowered.workspace.data() + "/t10k-images-idx3-ubyte";
  check_fails(nibble_program({"infer", lowered.model, images + "#100"}), "there are 100 images");
  check_fails(nibble_program({"infer", lowered.model, images + "#x"}), "expected the number of an image");
  check_fails(nibble_program({"infer", lowered.model, images + "#1", "--trace", "28,0"}), "--trace 28,0");
  check_fails(
      nibble_program({"export", lowered.model, "--format", "c", "--out", lowered.workspace.file("m.onnx")}),
      ".c");
  check_fails(
      nibble_program({"export", lowered.model, "--format", "c", "--out", lowered.workspace.file("2.c")}),
      "2");
  check_fails(nibble_program({"eval", lowered.checkpoint, "--augment"}), "--augment");
}

}  // namespace
}  // namespace nibble
