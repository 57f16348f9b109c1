#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/simd/dispatch.h"

namespace nibble::quant {

// What the instructions that the integer products are made of do at best: chains of them, enough to hide
// their latency, on registers. A round counts two operations per multiply-add; the result only keeps the
// compiler from skipping it.
struct IntProbe {
  std::size_t operations_per_round;
  std::int32_t (*run)(std::size_t rounds) noexcept;
};

// Products of any bytes, in the form that costs least: dot_probe.cpp.
NIBBLE_DECLARE_INTEGER_KERNELS(IntProbe, byte_probe)
// The same for weights of fewer than 8 bits, which some tiers may add up in int16 first.
NIBBLE_DECLARE_INTEGER_KERNELS(IntProbe, code_probe)
// Products of single bits: bit_probe.cpp.
NIBBLE_DECLARE_INTEGER_KERNELS(IntProbe, bit_probe)

}  // namespace nibble::quant
