#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <vector>

namespace nibble {

// Writes to a temporary file beside `path`, fsyncs and renames: readers see the old contents or the new, and
// a kill or a full disk leaves the old. The file is a new one: its permissions are what the umask leaves, and
// a symbolic link at `path` is replaced, not followed. Throws std::system_error naming the path.
void write_file_atomically(const std::filesystem::path& path, std::span<const std::byte> bytes);

// Whole file; throws std::system_error naming the path.
std::vector<std::byte> read_file(const std::filesystem::path& path);

}  // namespace nibble
