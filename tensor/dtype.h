#pragma once

#include <cstddef>
#include <cstdint>
#include <ostream>
#include <type_traits>

#include "tensor/check.h"

namespace nibble {

enum class DType : std::uint8_t { float32, float64, int8, uint8, int16, int32, int64 };

// Calls f with a value of the C++ type that stores `dtype`; use decltype of the argument.
template <class F>
decltype(auto) visit(DType dtype, F&& f) {
  switch (dtype) {
    case DType::float32:
      return f(float{});
    case DType::float64:
      return f(double{});
    case DType::int8:
      return f(std::int8_t{});
    case DType::uint8:
      return f(std::uint8_t{});
    case DType::int16:
      return f(std::int16_t{});
    case DType::int32:
      return f(std::int32_t{});
    case DType::int64:
      return f(std::int64_t{});
  }
  throw std::logic_error("visit: not a DType");
}

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>)
    return DType::float32;
  else if constexpr (std::is_same_v<T, double>)
    return DType::float64;
  else if constexpr (std::is_same_v<T, std::int8_t>)
    return DType::int8;
  else if constexpr (std::is_same_v<T, std::uint8_t>)
    return DType::uint8;
  else if constexpr (std::is_same_v<T, std::int16_t>)
    return DType::int16;
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return DType::int32;
  else {
    static_assert(std::is_same_v<T, std::int64_t>, "no DType stores this type");
    return DType::int64;
  }
}

inline std::size_t size_of(DType dtype) {
  return visit(dtype, [](auto value) { return sizeof(value); });
}

inline bool is_floating_point(DType dtype) { return dtype == DType::float32 || dtype == DType::float64; }

constexpr const char* name_of(DType dtype) {
  constexpr const char* kNames[] = {"float32", "float64", "int8", "uint8", "int16", "int32", "int64"};
  return kNames[static_cast<int>(dtype)];
}

inline std::ostream& operator<<(std::ostream& out, DType dtype) { return out << name_of(dtype); }

}  // namespace nibble
