#pragma once

#include <cstdint>
#include <span>

namespace nibble::quant {

// FNV-1a over 32-bit words instead of bytes: what the integers of one image and layer are compared by where
// they are not at hand themselves (in an exported program, in a certificate).
//   hash = 0xcbf29ce484222325; for every integer: hash = (hash ^ uint32(integer)) * 0x100000001b3 mod 2^64
inline std::uint64_t trace_hash(std::span<const std::int32_t> integers) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const std::int32_t i : integers) hash = (hash ^ static_cast<std::uint32_t>(i)) * 0x100000001b3;
  return hash;
}

}  // namespace nibble::quant
