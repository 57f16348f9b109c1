#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nibble {

// Kernel tiers. Within one architecture a later tier is wider or has more instructions than an earlier one; a
// kernel family runs on the best tier it has that is not above the one asked for. Those that only integer
// kernels know: scalar (no vectors), ssse3, avx512vnni (VNNI and VPOPCNTDQ), amx (int8 tiles), neondot.
enum class Isa { scalar, sse2, ssse3, avx2, avx512, avx512vnni, amx, neon, neondot };

const char* name_of(Isa isa);

// Tiers that this program contains and this machine can run, best last. Never empty.
const std::vector<Isa>& supported_isas();

// Throws std::invalid_argument listing the valid names when `name` is unknown or not supported here.
Isa parse_isa(std::string_view name);

// The tier whose kernels are used: the best supported, or what NIBBLE_ISA names (read once; throws as
// parse_isa does).
Isa active_isa();

}  // namespace nibble
