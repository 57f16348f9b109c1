#include "apps/proof/proof_file.h"

#include <nlohmann/json.hpp>
#include <stdexcept>

#include "tensor/atomic_file.h"

namespace nibble {
namespace {

[[noreturn]] void fail(const std::filesystem::path& path, const std::string& what) {
  throw std::runtime_error(path.string() + ": " + what);
}

}  // namespace

std::string certificate_in(const std::filesystem::path& path, const std::string& model_sha256) {
  const auto bytes = read_file(path);
  const auto* const text = reinterpret_cast<const char*>(bytes.data());
  const auto json = nlohmann::json::parse(text, text + bytes.size(), nullptr, /*allow_exceptions=*/false);
  const auto string_at = [&](const char* key) {
    if (!json.is_object() || !json.contains(key) || !json[key].is_string())
      fail(path, "not a certificate of 'nibble prove --json'");
    return json[key].get<std::string>();
  };
  const std::string certificate = string_at("certificate"), sha256 = string_at("model_sha256");
  if (sha256 != model_sha256) fail(path, "is of the model " + sha256 + ", not of " + model_sha256);
  if (!json.contains("green") || json["green"] != true) fail(path, "is not green");
  return certificate;
}

}  // namespace nibble
