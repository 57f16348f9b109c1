#pragma once

// The rule by which an int32 sum becomes a code, for one sum or a vector of sums. Included by the kernels, by
// their tests, and by whatever else has to give the same bits. Everything is inlined by force: a copy that
// was compiled for one instruction set must not stand in for another.

#include <bit>
#include <cstdint>

namespace nibble::quant {

// round(p / 2^s), half to even, one rounding; |p| < 2^62, 0 <= s <= 62. Word is std::uint64_t or a vector of
// such, p and the result are in two's complement.
//
// Let p = f 2^s + r with 0 <= r < 2^s, and h = 2^(s-1). The result is f + 1 where r > h, or r = h and f is
// odd, and f elsewhere. As r is whole, that is where r + (h - 1) + (f mod 2) reaches 2^s:
//
//   round(p / 2^s) = floor((p + (h - 1) + f mod 2) / 2^s)     for s > 0, and p for s = 0.
//
// With s = 0 there is nothing to add: `odd` and `below_half` are 0.
//
// A floor is an arithmetic shift, which AVX2 lacks for 64 bits. But u = p + 2^63, a flipped sign bit, is
// never negative as an unsigned number, a logical shift is its floor, and what it is too large by, 2^63 /
// 2^s, is whole and even, as s < 63: the parity of f is that of floor(u / 2^s). u + (h - 1) + 1 < 2^63 + 2^62
// + 2^61 does not overflow.
template <class Word>
struct RoundingShift {
  Word shift, odd, below_half, origin;

  RoundingShift() = default;
  [[gnu::always_inline]] constexpr explicit RoundingShift(Word s)
      : shift(s),
        odd((s + 63) >> 6),  // min(s, 1)
        below_half(((s * 0 + 1) << s >> 1) - odd),
        origin((s * 0 + kSign) >> s) {}

  [[gnu::always_inline]] constexpr Word operator()(Word p) const {
    const Word u = p ^ kSign;
    return ((u + below_half + ((u >> shift) & odd)) >> shift) - origin;
  }

 private:
  static constexpr std::uint64_t kSign = std::uint64_t{1} << 63;
};

// clamp(round(product / 2^shift) + zero_point, lo, hi). Int is Word, signed; |zero_point| < 2^62.
template <class Int, class Word>
[[gnu::always_inline]] constexpr Int requantize(Word product, const RoundingShift<Word>& shift,
                                                Int zero_point, Int lo, Int hi) {
  const Int code = std::bit_cast<Int>(shift(product)) + zero_point;
  const Int not_below = code < lo ? lo : code;
  return not_below > hi ? hi : not_below;
}

// The same for one sum: clamp(round(sum * multiplier / 2^shift) + zero_point, lo, hi) with |sum| < 2^31,
// 0 <= multiplier < 2^31, 0 <= shift <= 62.
[[gnu::always_inline]] constexpr std::int32_t requantize(std::int32_t sum, std::int32_t multiplier,
                                                         std::int32_t shift, std::int32_t zero_point,
                                                         std::int32_t lo, std::int32_t hi) {
  const auto product = static_cast<std::uint64_t>(std::int64_t{sum} * multiplier);
  const RoundingShift<std::uint64_t> rounding(static_cast<std::uint64_t>(shift));
  return static_cast<std::int32_t>(requantize<std::int64_t>(product, rounding, zero_point, lo, hi));
}

}  // namespace nibble::quant
