#pragma once

#include <vector>

#include "tensor/simd/isa.h"

namespace nibble::test {

// The tiers whose integer products are tested. nibble_test_tiles contains the emulation of the tier amx
// instead of its kernels (quant/kernels/tiles.h), which needs a machine with avx512vnni only.
inline std::vector<Isa> product_tiers() {
#if defined(NIBBLE_EMULATED_TILES)
  return {Isa::amx};
#else
  return supported_isas();
#endif
}

}  // namespace nibble::test
