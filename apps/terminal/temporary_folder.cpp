#include "apps/terminal/temporary_folder.h"

#include <fmt/core.h>
#include <stdlib.h>

#include <cerrno>
#include <stdexcept>
#include <string>
#include <system_error>

namespace nibble {

namespace fs = std::filesystem;

TemporaryFolder::TemporaryFolder() {
  std::string path = (fs::temp_directory_path() / "nibble-XXXXXX").string();
  if (mkdtemp(path.data()) == nullptr)
    throw std::runtime_error(
        fmt::format("cannot make the folder {}: {}", path, std::generic_category().message(errno)));
  path_ = path;
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace nibble
