#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace nibble::quant {

// Codes stored at their bits, the same everywhere: 1, 2, 4 or 8 bits each, the first in the lowest bits of a
// byte, in two's complement. Of one bit: 0 is code 0, or -1 where codes are signed (binary weights).

// The narrowest container of codes of so many bits.
constexpr int container_bits(int bit_width) { return bit_width <= 2 ? bit_width : bit_width <= 4 ? 4 : 8; }

constexpr std::size_t container_bytes(std::size_t codes, int bits) {
  return (codes * static_cast<std::size_t>(bits) + 7) / 8;
}

std::vector<std::uint8_t> pack_codes(std::span<const std::int8_t> codes, int bits);
// packed.size() is container_bytes(codes.size(), bits).
void unpack_codes(std::span<const std::uint8_t> packed, int bits, bool is_signed,
                  std::span<std::int16_t> codes);

}  // namespace nibble::quant
