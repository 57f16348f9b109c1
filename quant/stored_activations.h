#pragma once

#include <cstdint>

#include "quant/packed_matrix.h"
#include "quant/qgemm.h"

namespace nibble::quant {

// Activations as integer kernels store them, in bytes that are int8 or uint8: code ^ flip (binary: 2 * code).
struct StoredActivations {
  std::uint8_t flip = 0;
  std::int32_t zero_point;

  StoredActivations(const ActFormat& format, bool signed_bytes);
};

// Throws std::invalid_argument where no product takes such activations, or none of these weights.
void check_activations(const ActFormat& format, const PackOptions& weights);

}  // namespace nibble::quant
