// train and eval as a user meets them: files, exit codes, messages, determinism, interruption.
#include <signal.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <fstream>
#include <functional>
#include <regex>
#include <thread>

#include "nn/checkpoint.h"
#include "tensor/safetensors.h"
#include "tests/apps/cli_support.h"
#include "tests/support/catch.h"

namespace nibble::test {
TEST_CASE("eval prints two lines, those of the training that made the checkpoint") {
  const Workspace workspace;
  const Outcome train = workspace.run({"train", "--epochs", "2", "--out", workspace.file("a.safetensors")});
  REQUIRE(train.code == 0);
  const Outcome eval = workspace.run({"eval", workspace.file("a.safetensors")});
  REQUIRE(eval.code == 0);
  CHECK(
      std::regex_match(eval.out, std::regex("accuracy [01]\\.\\d{4} \\(\\d+/100\\)\nloss \\d+\\.\\d{4}\n")));
  CHECK(last_lines(train.out, 2) == eval.out);
  const Outcome plain = workspace.run({"eval", workspace.file("a.safetensors"), "--no-augment"});
  CHECK(plain.code == 0);
  CHECK(plain.out != eval.out);
}

TEST_CASE("a network learns, and --stop-at ends its training") {
  const Workspace workspace;
  const Outcome outcome = workspace.run(
      {"train", "--no-augment", "--logits", "--lr", "0.05", "--epochs", "200", "--stop-at", "0.9"});
  REQUIRE(outcome.code == 0);
  const auto epochs = std::count(outcome.out.begin(), outcome.out.end(), '\n') - 2;
  CHECK(epochs < 100);
  std::smatch match;
  REQUIRE(std::regex_search(outcome.out, match, std::regex("\naccuracy ([0-9.]+)")));
  CHECK(std::stod(match[1]) >= 0.9);
}

TEST_CASE("the thread count changes no byte of a checkpoint, the seed does") {
  const Workspace workspace;
  const auto bytes = [&](const std::string& name, const std::string& threads, const std::string& seed) {
    return read_text(workspace.trained(name, {"--threads", threads, "--seed", seed}));
  };
  const std::string one = bytes("one", "1", "7"), two = bytes("two", "2", "7");
  CHECK(one == two);
  CHECK(one != bytes("other", "2", "8"));
  CHECK(one.find(workspace.file("")) == std::string::npos);
}

TEST_CASE("two epochs at once and one after the other give the same checkpoint") {
  const Workspace workspace;
  const std::string first = workspace.trained("first");
  REQUIRE(
      workspace.run({"train", "--epochs", "1", "--from", first, "--out", workspace.file("second")}).code ==
      0);
  REQUIRE(workspace.run({"train", "--epochs", "2", "--out", workspace.file("both")}).code == 0);
  CHECK(read_text(workspace.file("second")) == read_text(workspace.file("both")));
}

TEST_CASE("a float file without metadata, as PyTorch writes it, evaluates") {
  const Workspace workspace;
  const std::string path = workspace.trained("with.safetensors");
  save_safetensors(workspace.file("plain.safetensors"), {nn::load_checkpoint(path).model, {}});
  const Outcome plain = workspace.run({"eval", workspace.file("plain.safetensors")});
  CHECK(plain.code == 0);
  CHECK(plain.out == workspace.run({"eval", path}).out);
}

TEST_CASE("bad checkpoints are refused in one line") {
  const Workspace workspace;
  const std::string path = workspace.trained("good.safetensors");
  check_fails(workspace.run({"eval", workspace.file("model.pth")}), "scripts/pth2safetensors.py");
  check_fails(workspace.run({"eval", workspace.file("none.safetensors")}), "none.safetensors");

  const std::string bytes = read_text(path);
  std::ofstream(workspace.file("short.safetensors"), std::ios::binary) << bytes.substr(0, bytes.size() - 5);
  check_fails(workspace.run({"eval", workspace.file("short.safetensors")}), "short.safetensors");

  TensorFile file = load_safetensors(path);
  file.tensors.erase("conv2.bias");
  save_safetensors(workspace.file("missing.safetensors"), file);
  check_fails(workspace.run({"eval", workspace.file("missing.safetensors")}), "conv2.bias");
  file.metadata["weight_bits"] = "lots";
  save_safetensors(workspace.file("strange.safetensors"), file);
  check_fails(workspace.run({"eval", workspace.file("strange.safetensors")}), "weight_bits");

  const auto changed = [&](const std::string& name, const std::function<void(TensorFile&)>& change) {
    TensorFile changed = load_safetensors(path);
    change(changed);
    save_safetensors(workspace.file(name), changed);
    return workspace.run({"train", "--epochs", "1", "--from", workspace.file(name)});
  };
  check_fails(changed("nan.safetensors",
                      [](TensorFile& f) {
                        Tensor weight = f.tensors.at("conv1.weight").clone();
                        weight.mutable_values<float>()[3] = std::nanf("");
                        f.tensors["conv1.weight"] = weight;
                      }),
              "conv1.weight holds nan");
  check_fails(changed("epochs.safetensors", [](TensorFile& f) { f.metadata["epochs"] = "2147483647"; }),
              "epochs is \"2147483647\"");
  check_fails(
      changed("steps.safetensors", [](TensorFile& f) { f.metadata["steps"] = "9223372036854775807"; }),
      "steps is \"9223372036854775807\"");
  check_fails(changed("beyond.safetensors", [](TensorFile& f) { f.metadata["steps"] = "6"; }),
              "after step 6 of an epoch, which has 5 with --batch-size 64");
}

TEST_CASE("no epochs at all write the checkpoint they start from") {
  const Workspace workspace;
  const std::string path = workspace.trained("start.safetensors"), copy = workspace.file("copy.safetensors");
  REQUIRE(workspace.run({"train", "--epochs", "0", "--from", path, "--out", copy}).code == 0);
  CHECK(read_text(copy) == read_text(path));
}

TEST_CASE("impossible flags are refused in one line") {
  const Workspace workspace;
  const auto [flags, named] = GENERATE(table<std::vector<std::string>, std::string>({
      {{"--epochs", "-1"}, "--epochs"},
      {{"--epochs", "many"}, "--epochs"},
      {{"--batch-size", "0"}, "--batch-size"},
      {{"--lr", "-1"}, "--lr"},
      {{"--lr", "nan"}, "--lr"},
      {{"--momentum", "1.5"}, "--momentum"},
      {{"--rotate", "north"}, "--rotate"},
      {{"--rotate", "-10"}, "--rotate"},
      {{"--rotate", "20,10"}, "--rotate"},
      {{"--rotate", "10", "--no-augment"}, "--no-augment"},
      {{"--threads", "0"}, "--threads"},
      {{"--limit", "0"}, "--limit"},
      {{"--seed", "-3"}, "--seed"},
      {{"--stop-at", "2"}, "--stop-at"},
      {{"--out", "x.pth"}, "x.pth"},
      {{"--out", "x.nbq"}, "x.nbq"},
  }));
  std::vector<std::string> arguments{"train"};
  arguments.insert(arguments.end(), flags.begin(), flags.end());
  check_fails(workspace.run(arguments), named);
}

TEST_CASE("missing and damaged data are reported in one line") {
  const Workspace workspace;
  check_fails(nibble_program({"train", "--data", workspace.file("nowhere")}), "nowhere");
  const std::string images = workspace.data() + "/train-images-idx3-ubyte";
  const std::string bytes = read_text(images);
  std::ofstream(images, std::ios::binary) << bytes.substr(0, bytes.size() / 2);
  check_fails(workspace.run({"train"}), "train-images-idx3-ubyte");
}

TEST_CASE("an output that cannot be written is found before training and costs nothing") {
  const Workspace workspace;
  const auto begin = std::chrono::steady_clock::now();
  check_fails(
      workspace.run({"train", "--epochs", "100000", "--out", workspace.file("no/such/folder.safetensors")}),
      "no/such/folder.safetensors");
  check_fails(workspace.run({"train", "--epochs", "100000", "--out", workspace.data()}), workspace.data());
  check_fails(workspace.run({"train", "--epochs", "100000", "--out", "/dev/null"}), "/dev/null");
  CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds(20));
}

TEST_CASE("a loss that is not a number stops the training, names the step and keeps the old checkpoint") {
  const Workspace workspace;
  const std::string path = workspace.trained("kept.safetensors");
  const std::string before = read_text(path);
  Outcome outcome = workspace.run({"train", "--from", path, "--lr", "1e30", "--logits", "--out", path});
  outcome.err = last_lines(outcome.err, 1);  // progress stands before it
  check_fails(outcome, "step");
  CHECK(read_text(path) == before);
}

TEST_CASE("Ctrl-C finishes the step and saves; going on gives the checkpoint of an undisturbed run") {
  const Workspace workspace;
  const std::string path = workspace.file("stopped.safetensors");
  Process process({"train", "--epochs", "100000", "--data", workspace.data(), "--out", path});
  while (!std::filesystem::exists(path)) {
    REQUIRE(process.running());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  process.signal(SIGINT);
  const Outcome outcome = process.wait();
  INFO(outcome.err);
  CHECK(outcome.code == 130);
  CHECK(outcome.err.find("interrupted") != std::string::npos);
  CHECK(workspace.run({"eval", path}).code == 0);

  const auto metadata = load_safetensors(path).metadata;
  const int epochs = std::stoi(metadata.at("epochs")) + 1;
  REQUIRE(
      workspace.run({"train", "--from", path, "--epochs", "1", "--out", workspace.file("resumed")}).code ==
      0);
  REQUIRE(workspace.run({"train", "--epochs", std::to_string(epochs), "--out", workspace.file("undisturbed")})
              .code == 0);
  CHECK(read_text(workspace.file("resumed")) == read_text(workspace.file("undisturbed")));
}

TEST_CASE("a kill leaves a checkpoint that loads") {
  const Workspace workspace;
  const std::string path = workspace.file("killed.safetensors");
  Process process({"train", "--epochs", "100000", "--data", workspace.data(), "--out", path});
  while (!std::filesystem::exists(path)) {
    REQUIRE(process.running());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  process.signal(SIGKILL);
  CHECK(process.wait().code == 128 + SIGKILL);
  CHECK(workspace.run({"eval", path}).code == 0);
}

}  // namespace nibble::test
