#pragma once

#include <cstdint>
#include <filesystem>
#include <span>

namespace nibble {

// Writes an 8-bit image, row-major, channels innermost: 1 (grey) or 3 (RGB). Atomic. Throws std::system_error
// naming the path when it cannot be written.
void write_png(const std::filesystem::path& path, int width, int height, int channels,
               std::span<const std::uint8_t> pixels);

}  // namespace nibble
