#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace nibble {

struct RemoteFile {
  std::string name;    // stored compressed, as <name>.gz
  std::string sha256;  // of the decompressed contents
};

// Downloads each file that `folder` (which is made) lacks with curl, from the first mirror that delivers it;
// a mirror is an address that ends in "/". A file gets its name only after its hash was checked. One that is
// there already is kept when its hash is right, else refused: it may be somebody's. Throws std::runtime_error
// that says what is missing (curl, the network), Interrupted after Ctrl-C.
void download(const std::vector<RemoteFile>& files, const std::vector<std::string>& mirrors,
              const std::filesystem::path& folder);

}  // namespace nibble
