#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

namespace nibble::detail {

template <class... Parts>
std::string concat(const Parts&... parts) {
  std::ostringstream out;
  (out << ... << parts);
  return out.str();
}

}  // namespace nibble::detail

// Misuse by the caller (shapes, dtypes, ranges): throws std::invalid_argument, in every build type.
// The message names the operation, the value found and what was expected:
//   NIBBLE_CHECK(a.rank() == 2, "matmul: a has rank ", a.rank(), ", expected 2");
#define NIBBLE_CHECK(condition, ...)                                                    \
  do {                                                                                  \
    if (!(condition)) throw std::invalid_argument(nibble::detail::concat(__VA_ARGS__)); \
  } while (false)

// A broken invariant of nibble itself: throws std::logic_error.
#define NIBBLE_ASSERT(condition)                                                                    \
  do {                                                                                              \
    if (!(condition))                                                                               \
      throw std::logic_error(                                                                       \
          nibble::detail::concat("internal error at ", __FILE__, ":", __LINE__, ": ", #condition)); \
  } while (false)
