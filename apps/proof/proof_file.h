#pragma once

#include <filesystem>
#include <string>

namespace nibble {

// The certificate in a file that `nibble prove --json` wrote; throws std::runtime_error naming the path
// unless it is one of the model with this SHA-256, and green.
std::string certificate_in(const std::filesystem::path& path, const std::string& model_sha256);

}  // namespace nibble
