#include "quant/kernels/max_codes.h"

#include "quant/kernels/vec_int.h"

namespace nibble::quant::NIBBLE_TIER {
namespace {

// One vector, or one byte, at position i of all rows.
template <class V>
void max_at(const std::uint8_t* const* rows, std::size_t count, std::size_t i, std::uint8_t* out) {
  V best = load_as<V>(rows[0] + i);
  for (std::size_t r = 1; r < count; ++r) {
    const V v = load_as<V>(rows[r] + i);
    best = v > best ? v : best;
  }
  store_as(out + i, best);
}

// Vectors up to n, if there are that many bytes, the last one over the one before where they do not come out
// even, which changes nothing.
template <class V>
bool max_by(const std::uint8_t* const* rows, std::size_t count, std::size_t n, std::uint8_t* out) {
  if (n < sizeof(V)) return false;
  std::size_t i = 0;
  for (; i + sizeof(V) <= n; i += sizeof(V)) max_at<V>(rows, count, i, out);
  if (i < n) max_at<V>(rows, count, n - sizeof(V), out);
  return true;
}

template <class V, class Few, class Byte>
void max_of(const std::uint8_t* const* rows, std::size_t count, std::size_t n, std::uint8_t* out) noexcept {
  max_by<V>(rows, count, n, out) || max_by<Few>(rows, count, n, out) || max_by<Byte>(rows, count, n, out);
}

}  // namespace

extern const MaxKernels max_kernels = {.max_u8 = max_of<VecU8, FewU8, std::uint8_t>,
                                       .max_s8 = max_of<VecS8, FewS8, std::int8_t>};

}  // namespace nibble::quant::NIBBLE_TIER
