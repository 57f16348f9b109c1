#include "apps/terminal/download.h"

#include <fmt/core.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <optional>
#include <stdexcept>
#include <system_error>

#include "apps/terminal/interrupt.h"
#include "data/gzip.h"
#include "data/mnist.h"
#include "tensor/atomic_file.h"
#include "tensor/format_error.h"
#include "tensor/sha256.h"

extern char** environ;

namespace nibble {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxBytes = 512u << 20;  // decompressed

// A file that is gone again unless it is renamed.
class TemporaryFile {
 public:
  explicit TemporaryFile(const fs::path& target) : path_(target.string() + ".XXXXXX") {
    const int file = mkstemp(path_.data());
    if (file < 0) throw std::system_error(errno, std::generic_category(), "cannot write " + target.string());
    close(file);
  }
  ~TemporaryFile() { unlink(path_.c_str()); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

std::string read_all(int file) {
  std::string text;
  std::array<char, 512> chunk;
  for (;;) {
    const ssize_t got = read(file, chunk.data(), chunk.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return text;
    text.append(chunk.data(), static_cast<std::size_t>(got));
  }
}

// What curl complained of; empty on success. No shell is involved.
std::string run_curl(const std::string& url, const std::string& out) {
  std::array<std::string, 12> words = {"curl",       "--fail",         "--silent",  "--show-error",
                                       "--location", "--proto-redir",  "=https",    "--connect-timeout",
                                       "20",         "--max-filesize", "100000000", "--output"};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(const_cast<char*>(out.c_str()));
  argv.push_back(const_cast<char*>(url.c_str()));
  argv.push_back(nullptr);

  int pipe_ends[2];
  if (pipe(pipe_ends) != 0) throw std::system_error(errno, std::generic_category(), "cannot run curl");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, pipe_ends[1], STDERR_FILENO);
  posix_spawn_file_actions_addclose(&actions, pipe_ends[0]);
  posix_spawn_file_actions_addclose(&actions, pipe_ends[1]);
  pid_t process = 0;
  const int failed = posix_spawnp(&process, "curl", &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(pipe_ends[1]);
  if (failed != 0) {
    close(pipe_ends[0]);
    if (failed == ENOENT) throw std::runtime_error("curl is not installed (apt-get install curl)");
    throw std::system_error(failed, std::generic_category(), "cannot run curl");
  }
  std::string complaint = read_all(pipe_ends[0]);
  close(pipe_ends[0]);
  int status = 0;
  while (waitpid(process, &status, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  while (!complaint.empty() && complaint.back() == '\n') complaint.pop_back();
  return complaint.empty() ? "curl failed" : complaint;
}

// Why what was downloaded is not the file; empty when it is.
std::string wrong_contents(const std::string& path, const RemoteFile& file) {
  try {
    return sha256(data::gunzip(read_file(path), kMaxBytes)) == file.sha256 ? "" : "wrong SHA-256";
  } catch (const FormatError& error) {
    return error.what();
  }
}

bool present(const fs::path& folder, const RemoteFile& file) {
  std::optional<std::string> hash;
  try {
    hash = sha256(data::read_mnist_file(folder, file.name));
  } catch (const std::system_error& error) {
    if (error.code() == std::errc::no_such_file_or_directory) return false;
    throw;
  } catch (const FormatError&) {
    hash.reset();  // damaged: as wrong as any other contents
  }
  if (hash != file.sha256)
    throw std::runtime_error(fmt::format(
        "{} holds another {}; remove it or choose another folder with --data", folder.string(), file.name));
  return true;
}

void fetch(const RemoteFile& file, const std::vector<std::string>& mirrors, const fs::path& folder) {
  const fs::path target = folder / (file.name + ".gz");
  std::string complaints;
  for (const std::string& mirror : mirrors) {
    const TemporaryFile temporary(target);
    std::string complaint = run_curl(mirror + file.name + ".gz", temporary.path());
    if (interrupted()) throw Interrupted("interrupted; what was complete is kept in " + folder.string());
    if (complaint.empty()) complaint = wrong_contents(temporary.path(), file);
    if (complaint.empty()) return write_file_atomically(target, read_file(temporary.path()));
    complaints += fmt::format("{}{}: {}", complaints.empty() ? "" : "; ", mirror, complaint);
  }
  throw std::runtime_error(fmt::format("cannot download {}.gz: {}", file.name, complaints));
}

}  // namespace

void download(const std::vector<RemoteFile>& files, const std::vector<std::string>& mirrors,
              const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) throw std::system_error(error, "cannot make " + folder.string());
  for (const RemoteFile& file : files)
    if (!present(folder, file)) fetch(file, mirrors, folder);
}

}  // namespace nibble
