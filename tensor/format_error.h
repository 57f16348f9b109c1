#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace nibble {

// A file whose contents are not what its format says. The message is one line and ends with the byte offset.
class FormatError : public std::runtime_error {
 public:
  FormatError(const std::string& what, std::uint64_t offset)
      : std::runtime_error(what + " (at byte " + std::to_string(offset) + ")"), offset_(offset) {}
  std::uint64_t offset() const { return offset_; }

 private:
  std::uint64_t offset_;
};

}  // namespace nibble
