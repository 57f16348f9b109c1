#include "apps/proof/c_program.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <stdexcept>
#include <system_error>

#include "apps/terminal/interrupt.h"
#include "tensor/atomic_file.h"

extern char** environ;

namespace nibble {
namespace {

namespace fs = std::filesystem;
using Command = std::vector<std::string>;

Command words_of(const std::string& text) {
  std::istringstream in(text);
  Command words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

std::string text_of(const Command& command) {
  std::string text;
  for (const std::string& word : command) text += (text.empty() ? "" : " ") + word;
  return text;
}

Command compiler_of(const CToolchain& tools) {
  const char* const cc = std::getenv("CC");
  Command command = words_of(!tools.compiler.empty() ? tools.compiler : cc != nullptr ? cc : "");
  return command.empty() ? Command{"cc"} : command;
}

void write(const fs::path& path, std::span<const std::byte> bytes) { write_file_atomically(path, bytes); }
void write(const fs::path& path, const std::string& text) { write(path, std::as_bytes(std::span(text))); }

struct Files {
  fs::path input, output, errors;
};

// Status as waitpid gives it.
int run_command(const Command& command, const Files& files) {
  std::vector<char*> argv;
  for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  const auto open_as = [&](int file, const fs::path& path, int flags) {
    posix_spawn_file_actions_addopen(&actions, file, path.c_str(), flags, 0600);
  };
  open_as(STDIN_FILENO, files.input, O_RDONLY);
  open_as(STDOUT_FILENO, files.output, O_WRONLY | O_CREAT | O_TRUNC);
  open_as(STDERR_FILENO, files.errors, O_WRONLY | O_CREAT | O_TRUNC);
  pid_t process = 0;
  const int failed = posix_spawnp(&process, argv[0], &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  if (failed != 0)
    throw std::runtime_error(
        fmt::format("cannot run {}: {}", command[0], std::generic_category().message(failed)));
  int status = 0;
  while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  stop_if_interrupted();
  return status;
}

// The first line with an error, not the "In function" that compilers print before; else the first.
std::string complaint_in(const fs::path& file) {
  const std::vector<std::byte> bytes = read_file(file);
  std::istringstream text(std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  std::string first, line;
  while (std::getline(text, line)) {
    if (line.find("error") != std::string::npos) return line;
    if (first.empty()) first = line;
  }
  return first;
}

// Throws unless the command ends by itself with a status up to `most`, which is returned.
int run_checked(const Command& command, const Files& files, int most) {
  const int status = run_command(command, files);
  if (WIFEXITED(status) && WEXITSTATUS(status) <= most) return WEXITSTATUS(status);
  const std::string how = WIFEXITED(status) ? fmt::format("exit status {}", WEXITSTATUS(status))
                                            : fmt::format("signal {}", WTERMSIG(status));
  throw std::runtime_error(fmt::format("{}: {}: {}", text_of(command), how, complaint_in(files.errors)));
}

// From little-endian, as the driver writes on any machine.
template <class T>
T take(const std::byte*& at) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value |= std::to_integer<std::uint64_t>(*at++) << (8 * i);
  return static_cast<T>(value);
}

}  // namespace

bool c_compiler_available(const CToolchain& tools) {
  Command command = compiler_of(tools);
  command.push_back("--version");
  try {
    return run_command(command, {"/dev/null", "/dev/null", "/dev/null"}) == 0;
  } catch (const Interrupted&) {
    throw;
  } catch (const std::runtime_error&) {
    return false;
  }
}

CProgram::CProgram(const quant::IntModel& model, const quant::CSources& sources, const std::string& name,
                   const CToolchain& tools)
    : image_(model.input.image), logits_(logits_of(model)), hashes_(1) {
  for (const quant::IntLayer& layer : model.layers)
    hashes_ += std::holds_alternative<quant::IntProduct>(layer) ? 2 : 1;
  const fs::path& folder = folder_.path();
  const std::string source = folder / (name + ".c"), driver = folder / (name + "_driver.c"),
                    program = folder / "program";
  write(folder / (name + ".h"), sources.header);
  write(source, sources.source);
  write(driver, quant::export_c_driver(model, name));

  std::string trace = "-D" + name + "_TRACE";
  for (char& c : trace)
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  Command compile = compiler_of(tools);
  for (const char* flag : {"-std=c99", "-O2", "-pedantic", "-Wall", "-Wextra", "-Werror"})
    compile.push_back(flag);
  compile.insert(compile.end(), {trace, source, driver, "-o", program});
  run_checked(compile, {"/dev/null", folder / "log", folder / "errors"}, 0);

  command_ = words_of(tools.runner);
  command_.push_back(program);
}

int CProgram::run_program(std::vector<std::string> arguments, const fs::path& input,
                          const fs::path& output) const {
  Command command = command_;
  command.insert(command.end(), arguments.begin(), arguments.end());
  return run_checked(command, {input, output, folder_.path() / "errors"}, arguments.empty() ? 0 : 1);
}

CProgram::Output CProgram::run(const Tensor& pixels) const {
  NIBBLE_CHECK(pixels.defined() && pixels.dtype() == DType::uint8 && pixels.rank() == image_.rank() + 1 &&
                   pixels.shape().erased(0) == image_,
               "C program: expected uint8 images of shape ", image_);
  const Tensor images = pixels.contiguous();
  const fs::path input = folder_.path() / "pixels", output = folder_.path() / "output";
  write(input, std::as_bytes(images.values<std::uint8_t>()));
  run_program({}, input, output);

  const std::vector<std::byte> bytes = read_file(output);
  const std::int64_t n = images.size(0), expected = n * (4 * logits_ + 8 * hashes_);
  if (static_cast<std::int64_t>(bytes.size()) != expected)
    throw std::runtime_error(fmt::format("{} wrote {} bytes for {} images, expected {}", text_of(command_),
                                         bytes.size(), n, expected));
  Output result;
  const std::byte* at = bytes.data();
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < logits_; ++j) result.logits.push_back(take<std::int32_t>(at));
    for (std::int64_t j = 0; j < hashes_; ++j) result.hashes.push_back(take<std::uint64_t>(at));
  }
  return result;
}

bool CProgram::self_test() const {
  return run_program({"self-test"}, "/dev/null", folder_.path() / "log") == 0;
}

}  // namespace nibble
