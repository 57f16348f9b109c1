#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace nibble::data {

bool is_gzip(std::span<const std::byte> bytes);

// All members of a gzip file (RFC 1952), joined. Throws FormatError when it is truncated, corrupt, has
// anything after the last member, or expands to more than max_bytes.
std::vector<std::byte> gunzip(std::span<const std::byte> bytes, std::size_t max_bytes);

}  // namespace nibble::data
