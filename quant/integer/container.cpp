#include "quant/integer/container.h"

#include "quant/kernels/bits.h"

namespace nibble::quant {

std::vector<std::uint8_t> pack_codes(std::span<const std::int8_t> codes, int bits) {
  std::vector<std::uint8_t> bytes;
  // A binary weight of 1 has its lowest bit set, and so has -1.
  for (const std::int8_t code : codes)
    bytes.push_back(static_cast<std::uint8_t>(bits == 1 ? code > 0 : code));
  if (bits == 8) return bytes;
  std::vector<std::uint8_t> packed(container_bytes(codes.size(), bits));
  bits_kernels().pack(bytes.data(), bytes.size(), bits, packed.data());
  return packed;
}

void unpack_codes(std::span<const std::uint8_t> packed, int bits, bool is_signed,
                  std::span<std::int16_t> codes) {
  std::vector<std::uint8_t> bytes(codes.size());
  if (bits == 8)
    bytes.assign(packed.begin(), packed.end());
  else
    bits_kernels().unpack(packed.data(), bytes.size(), bits, bytes.data());
  const int sign = 1 << (bits - 1);
  for (std::size_t i = 0; i < codes.size(); ++i) {
    int code = bytes[i];
    if (is_signed) code = bits == 1 ? 2 * code - 1 : (code ^ sign) - sign;
    codes[i] = static_cast<std::int16_t>(code);
  }
}

}  // namespace nibble::quant
