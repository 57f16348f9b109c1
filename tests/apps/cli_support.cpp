#include "tests/apps/cli_support.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <stdexcept>

#include "tensor/random.h"
#include "tests/support/catch.h"

namespace nibble::test {
namespace {

void put_big_endian(std::ofstream& file, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) file.put(static_cast<char>(value >> shift));
}

void write_split(const std::filesystem::path& folder, const std::string& split, int count,
                 std::uint64_t seed) {
  constexpr int kSide = 28;
  std::ofstream images(folder / (split + "-images-idx3-ubyte"), std::ios::binary);
  std::ofstream labels(folder / (split + "-labels-idx1-ubyte"), std::ios::binary);
  put_big_endian(images, 0x803);
  put_big_endian(labels, 0x801);
  put_big_endian(images, static_cast<std::uint32_t>(count));
  put_big_endian(labels, static_cast<std::uint32_t>(count));
  put_big_endian(images, kSide);
  put_big_endian(images, kSide);
  Rng rng(seed);
  for (int i = 0; i < count; ++i) {
    const int label = i % 10;
    labels.put(static_cast<char>(label));
    for (int y = 0; y < kSide; ++y) {
      for (int x = 0; x < kSide; ++x) {
        const bool bright = y / 3 == label && x > 4 && x < 24;
        images.put(static_cast<char>((bright ? 200 : 0) + rng.below(50)));
      }
    }
  }
}

}  // namespace

void write_tiny_dataset(const std::filesystem::path& folder, int train_images, int test_images) {
  std::filesystem::create_directories(folder);
  write_split(folder, "train", train_images, 1);
  write_split(folder, "t10k", test_images, 2);
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

Process::Process(std::vector<std::string> arguments, std::vector<std::string> environment) {
  arguments.insert(arguments.begin(), NIBBLE_PROGRAM);
  std::vector<char*> argv;
  for (std::string& argument : arguments) argv.push_back(argument.data());
  argv.push_back(nullptr);
  const std::string out = folder_.file("out"), err = folder_.file("err");
  pid_ = fork();
  if (pid_ < 0) throw std::runtime_error("fork failed");
  if (pid_ > 0) return;
  for (std::string& entry : environment) putenv(entry.data());
  dup2(open("/dev/null", O_RDONLY), 0);
  dup2(open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 1);
  dup2(open(err.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600), 2);
  execv(argv[0], argv.data());
  _exit(127);
}

Process::~Process() {
  if (pid_ > 0) {
    kill(pid_, SIGKILL);
    waitpid(pid_, &status_, 0);
  }
}

void Process::signal(int number) { kill(pid_, number); }

bool Process::running() {
  if (pid_ > 0 && waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = -1;
  return pid_ > 0;
}

Outcome Process::wait() {
  if (pid_ > 0) waitpid(pid_, &status_, 0);
  pid_ = -1;
  const int code = WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_);
  return {code, read_text(folder_.path() / "out"), read_text(folder_.path() / "err")};
}

Outcome nibble_program(std::vector<std::string> arguments, std::vector<std::string> environment) {
  return Process(std::move(arguments), std::move(environment)).wait();
}

Outcome Workspace::run(std::vector<std::string> arguments) const {
  arguments.insert(arguments.end(), {"--data", data()});
  return nibble_program(std::move(arguments));
}

std::string Workspace::trained(const std::string& name, std::vector<std::string> more) const {
  std::vector<std::string> arguments{"train", "--epochs", "1", "--out", file(name)};
  arguments.insert(arguments.end(), more.begin(), more.end());
  const Outcome outcome = run(arguments);
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  return file(name);
}

std::string last_lines(const std::string& text, int count) {
  std::size_t at = text.size();
  for (int i = 0; i <= count && at != std::string::npos && at > 0; ++i) at = text.rfind('\n', at - 1);
  return at == std::string::npos ? text : text.substr(at + 1);
}

void check_fails(const Outcome& outcome, const std::string& named) {
  INFO(outcome.err);
  CHECK(outcome.code != 0);
  CHECK(outcome.code < 126);
  CHECK(outcome.err.rfind("nibble: ", 0) == 0);
  CHECK(std::count(outcome.err.begin(), outcome.err.end(), '\n') == 1);
  CHECK(outcome.err.find(named) != std::string::npos);
}

}  // namespace nibble::test
