#pragma once

#include <cstddef>
#include <span>

#include "tensor/tensor.h"

namespace nibble::data {

// Parses an IDX file of unsigned bytes (http://yann.lecun.com/exdb/mnist): 0, 0, type 0x08, rank, then the
// sizes as big-endian 32-bit numbers, then the elements in row-major order. Returns a uint8 tensor of rank 1
// to 8. Throws FormatError, with the offset, on anything else; the file must be exactly as long as its sizes
// say, which is checked before anything is allocated.
Tensor parse_idx(std::span<const std::byte> bytes);

}  // namespace nibble::data
