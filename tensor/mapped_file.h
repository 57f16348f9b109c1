#pragma once

#include <cstddef>
#include <filesystem>
#include <span>

namespace nibble {

// A file's bytes, read in place as pages are touched. Throws std::system_error naming the path.
class MappedFile {
 public:
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

}  // namespace nibble
