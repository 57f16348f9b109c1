#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nibble {

// Kernel tiers. Within one architecture a later tier is wider or has more instructions than an earlier one.
enum class Isa { sse2, avx2, avx512, neon };

const char* name_of(Isa isa);

// Tiers that this program contains and this machine can run, best last. Never empty.
const std::vector<Isa>& supported_isas();

// Throws std::invalid_argument listing the valid names when `name` is unknown or not supported here.
Isa parse_isa(std::string_view name);

// The tier whose kernels are used: the best supported, or what NIBBLE_ISA names (read once; throws as
// parse_isa does).
Isa active_isa();

}  // namespace nibble
