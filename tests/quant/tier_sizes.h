#pragma once

#include <cstddef>
#include <vector>

namespace nibble::test {

// Lengths where vector code goes wrong, for every number of lanes that a kernel of bytes, of 32-bit elements
// or of blocks of 16 may have.
inline std::vector<std::size_t> awkward_lengths() {
  std::vector<std::size_t> lengths{0, 1, 3, 5, 11, 1000, 4099};
  for (std::size_t lanes : {4, 8, 16, 32, 64})
    for (std::size_t n : {lanes - 1, lanes, lanes + 1, 3 * lanes, 8 * lanes + 2}) lengths.push_back(n);
  return lengths;
}

inline constexpr std::size_t kOffsets[] = {0, 1, 3};

}  // namespace nibble::test
