#include "apps/terminal/output_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <system_error>

namespace nibble {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& reason) {
  throw std::runtime_error("cannot write " + path.string() + ": " + reason);
}

// Output goes to a new file with a longer name, which is renamed: what counts is that the folder takes those.
void check_new_file(std::string probe, const std::filesystem::path& path) {
  probe += ".nibble-probe-XXXXXX";
  const int file = mkstemp(probe.data());
  if (file < 0) fail(path, std::generic_category().message(errno));
  close(file);
  unlink(probe.c_str());
}

}  // namespace

void check_writable(const std::filesystem::path& path) {
  if (path.empty()) return;
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) fail(path, "it is a folder");
  // The rename would replace a device or a pipe by a file.
  if (std::filesystem::exists(path, ignored) && !std::filesystem::is_regular_file(path, ignored))
    fail(path, "it is not a regular file");
  check_new_file(path.string(), path);
}

void make_output_folder(const std::filesystem::path& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) fail(path, error.message());
  check_new_file((path / "").string(), path);
}

}  // namespace nibble
