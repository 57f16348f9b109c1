#include "data/idx.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "tensor/factory.h"
#include "tensor/format_error.h"

namespace nibble::data {

Tensor parse_idx(std::span<const std::byte> bytes) {
  const auto byte = [&](std::size_t i) { return std::to_integer<std::uint32_t>(bytes[i]); };
  if (bytes.size() < 4)
    throw FormatError("IDX: a file of " + std::to_string(bytes.size()) + " bytes has no header", 0);
  if (byte(0) != 0 || byte(1) != 0) throw FormatError("IDX: does not begin with two zero bytes", 0);
  if (byte(2) != 0x08)
    throw FormatError("IDX: element type " + std::to_string(byte(2)) + ", expected 8 (unsigned byte)", 2);
  const auto rank = static_cast<int>(byte(3));
  if (rank < 1 || rank > Shape::kMaxRank)
    throw FormatError("IDX: rank " + std::to_string(rank) + ", expected 1 to 8", 3);
  const std::size_t header = 4 + 4 * static_cast<std::size_t>(rank);
  if (bytes.size() < header) throw FormatError("IDX: the header is truncated", bytes.size());

  Shape shape = Shape::filled(rank, 0);
  // A size of 0 does not excuse the others: strides are products of them.
  std::uint64_t extent = 1;
  bool is_empty = false;
  for (int i = 0; i < rank; ++i) {
    const std::size_t at = 4 + 4 * static_cast<std::size_t>(i);
    const std::uint32_t size = byte(at) << 24 | byte(at + 1) << 16 | byte(at + 2) << 8 | byte(at + 3);
    is_empty |= size == 0;
    if (__builtin_mul_overflow(extent, std::uint64_t{std::max(size, 1u)}, &extent) || extent > INT64_MAX)
      throw FormatError("IDX: the sizes are too large", at);
    shape[i] = size;
  }
  const std::uint64_t numel = is_empty ? 0 : extent;
  if (bytes.size() - header != numel)
    throw FormatError(
        "IDX: " + std::to_string(bytes.size() - header) + " elements, the sizes say " + std::to_string(numel),
        header);
  Tensor result = empty(shape, DType::uint8);
  if (numel > 0) std::memcpy(result.mutable_data<std::uint8_t>(), bytes.data() + header, numel);
  return result;
}

}  // namespace nibble::data
