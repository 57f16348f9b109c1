#pragma once

#include <cstdint>

namespace nibble {

// a / b, rounded up, for a >= 0 and b > 0. Not for kernels: what they share inline with other files may be
// taken from the tier of another file.
inline std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace nibble
