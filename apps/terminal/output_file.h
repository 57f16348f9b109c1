#pragma once

#include <filesystem>

namespace nibble {

// Throws std::runtime_error naming the path unless a file can be written there: better known before an hour
// of training than after it. Leaves an existing file as it is; an empty path (no output wanted) is fine.
void check_writable(const std::filesystem::path& path);

// Makes a folder, parents included, in which files can be written; throws std::runtime_error naming it.
void make_output_folder(const std::filesystem::path& path);

}  // namespace nibble
