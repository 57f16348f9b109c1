#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

namespace nibble {

// A file whose contents are not what its format says. what() is one line and ends with the byte offset.
class FormatError : public std::runtime_error {
 public:
  FormatError(const std::string& reason, std::uint64_t offset)
      : std::runtime_error(reason + " (at byte " + std::to_string(offset) + ")"),
        reason_(reason),
        offset_(offset) {}
  const std::string& reason() const { return reason_; }
  std::uint64_t offset() const { return offset_; }

 private:
  std::string reason_;
  std::uint64_t offset_;
};

}  // namespace nibble
