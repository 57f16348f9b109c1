#pragma once

// How operands of the dot family are brought into order; part of dot.cpp, which draws it.

#include "quant/kernels/dot4.h"
#include "quant/kernels/qgemm.h"
#if !defined(NIBBLE_TIER_scalar)
#include "tensor/simd/transpose.h"
#endif

namespace nibble::quant::NIBBLE_TIER {
namespace {

constexpr std::size_t kVecBytes = kLanes * sizeof(std::int32_t);
constexpr std::size_t divide_up(std::size_t a, std::size_t b) { return (a + b - 1) / b; }
constexpr std::size_t codes_per_byte(int bits) { return 8 / static_cast<std::size_t>(bits); }
constexpr std::size_t codes_per_block(int bits) { return 4 * codes_per_byte(bits); }
constexpr std::size_t block_count(std::size_t k, int bits) { return divide_up(k, codes_per_block(bits)); }
// Rows are padded for panels of any width: those of one bit have the longest blocks.
constexpr std::size_t quads(std::size_t k) { return divide_up(k, codes_per_block(1)) * codes_per_byte(1); }

inline std::uint32_t load_quad(const void* p) {
  std::uint32_t x;
  std::memcpy(&x, p, sizeof x);
  return x;
}
inline void store_quad(void* p, std::uint32_t x) { std::memcpy(p, &x, sizeof x); }

// Up to four bytes, zeros behind them.
inline std::uint32_t load_quad_partial(const void* p, std::size_t n) {
  std::uint32_t x = 0;
  std::memcpy(&x, p, n < 4 ? n : 4);
  return x;
}

// ---- Weights.

std::size_t panel_bytes(int bits, std::size_t k) noexcept { return block_count(k, bits) * kVecBytes; }

void pack_panel(const std::int8_t* codes, std::size_t stride, std::size_t n, std::size_t k, int bits,
                std::byte* panel) noexcept {
  const std::size_t planes = codes_per_byte(bits);
  const std::uint32_t mask = ((1u << bits) - 1) * 0x01010101u;
  for (std::size_t b = 0; b < block_count(k, bits); ++b)
    for (std::size_t j = 0; j < kLanes; ++j) {
      std::uint32_t word = 0;
      for (std::size_t p = 0; j < n && p < planes; ++p) {
        const std::size_t at = 4 * (b * planes + p);
        if (at >= k) break;
        const std::int8_t* const from = codes + j * stride + at;
        const std::uint32_t quad = at + 4 <= k ? load_quad(from) : load_quad_partial(from, k - at);
        word |= (quad & mask) << (static_cast<std::size_t>(bits) * p);
      }
      store_quad(panel + b * kVecBytes + 4 * j, word);
    }
}

void unpack_panel(const std::byte* panel, std::size_t n, std::size_t k, int bits, std::int8_t* codes,
                  std::size_t stride) noexcept {
  const std::size_t per_block = codes_per_block(bits);
  for (std::size_t j = 0; j < n; ++j)
    for (std::size_t p = 0; p < k; ++p) {
      const std::size_t byte = p / per_block * kVecBytes + 4 * j + p % 4, plane = p % per_block / 4;
      codes[j * stride + p] = static_cast<std::int8_t>(
          (std::to_integer<unsigned>(panel[byte]) >> (plane * static_cast<unsigned>(bits))) &
          ((1u << bits) - 1));
    }
}

std::size_t expanded_bytes(std::size_t k, WeightForm form) noexcept {
  return quads(k) * kVecBytes * (form == WeightForm::words ? 2 : 1);
}

// Bytes less a byte, the former below 16, the latter at most 15: nothing is carried from byte to byte.
inline VecI less(VecI bytes, std::int32_t zero_point) {
  const std::uint32_t above = 0x80808080u - static_cast<std::uint32_t>(zero_point) * 0x01010101u;
  return (bytes + VecI(static_cast<std::int32_t>(above))) ^ VecI(static_cast<std::int32_t>(0x80808080u));
}

template <int Bits>
void expand(const std::byte* panel, std::size_t blocks, [[maybe_unused]] std::int32_t zero_point,
            [[maybe_unused]] WeightForm form, std::byte* out) {
  for (; blocks > 0; --blocks, panel += kVecBytes) {
    const VecI raw = load_ints(panel);
    unroll(std::make_index_sequence<codes_per_byte(Bits)>{}, [&](auto p) {
      VecI bytes = plane<Bits, static_cast<int>(p)>(raw);
      if constexpr (Bits < 8) bytes = less(bytes, zero_point);
#if defined(NIBBLE_HAS_WORDS)
      if (form == WeightForm::words) {
        store_ints(out, even_signed(bytes));
        store_ints(out + kVecBytes, odd_signed(bytes));
        out += 2 * kVecBytes;
        return;
      }
#endif
      store_ints(out, bytes);
      out += kVecBytes;
    });
  }
}

void expand_panel(const std::byte* panel, std::size_t k, int bits, std::int32_t zero_point, WeightForm form,
                  std::byte* out) noexcept {
  const std::size_t blocks = block_count(k, bits);
  switch (bits) {
    case 1:
      return expand<1>(panel, blocks, zero_point, form, out);
    case 2:
      return expand<2>(panel, blocks, zero_point, form, out);
    case 4:
      return expand<4>(panel, blocks, zero_point, form, out);
    default:
      return expand<8>(panel, blocks, zero_point, form, out);
  }
}

// ---- Activations.

// With room for a vector behind them, which sums_of_groups reads.
std::size_t row_bytes(std::size_t tile_rows, std::size_t k, int, WeightForm form) noexcept {
  const std::size_t bytes = quads(k) * tile_rows * 4 * (form == WeightForm::words ? 2 : 1);
  return divide_up(bytes + kVecBytes, 16) * 16;
}

// Quads of the rows that exist, flipped: out[q * tile_rows + i].
void interleave(const RowsToPack& r, std::uint32_t flip, std::uint32_t* out) {
  const std::size_t whole = r.k / 4, rest = r.k % 4;
  std::size_t i = 0;
#if !defined(NIBBLE_TIER_scalar)
  // Rows one behind the other in memory are a matrix of int32 to transpose; moves do not mind that they are
  // not floats.
  const std::ptrdiff_t step = r.count > 1 ? r.rows[1] - r.rows[0] : 0;
  bool even = r.count >= 4 && step > 0 && step % 4 == 0 && whole >= 4;
  for (std::size_t row = 2; even && row < r.count; ++row) even = r.rows[row] - r.rows[row - 1] == step;
  if (even) {
    transpose(reinterpret_cast<const float*>(r.rows[0]), static_cast<std::size_t>(step) / 4, r.count, whole,
              reinterpret_cast<float*>(out), r.tile_rows);
    if (flip != 0)
      for (std::size_t x = 0; x < whole * r.tile_rows; ++x) out[x] ^= flip;
    i = r.count;
  }
#endif
  for (; i < r.count; ++i)
    for (std::size_t q = 0; q < whole; ++q) out[q * r.tile_rows + i] = load_quad(r.rows[i] + 4 * q) ^ flip;
  if (rest > 0)
    for (i = 0; i < r.count; ++i)
      out[whole * r.tile_rows + i] =
          load_quad_partial(r.rows[i] + 4 * whole, rest) ^ (flip & ((1u << (8 * rest)) - 1));
  // Padding and rows that do not exist.
  for (std::size_t q = whole + (rest > 0); q < quads(r.k); ++q)
    for (i = 0; i < r.tile_rows; ++i) out[q * r.tile_rows + i] = 0;
  for (std::size_t q = 0; q < whole + (rest > 0); ++q)
    for (i = r.count; i < r.tile_rows; ++i) out[q * r.tile_rows + i] = 0;
}

// init[group][row] of interleaved quads, a lane a row; quads beyond k are zero.
void sums_of_groups(const RowsToPack& r, const std::uint32_t* from, std::int32_t* init) {
  constexpr auto chains = std::make_index_sequence<4>{};  // dot4 takes longer than it keeps a unit busy
  const VecI ones(0x01010101);
  const std::size_t whole = divide_up(r.k, 4), per_group = divide_up(r.group, 4);
  for (std::size_t begin = 0; begin < whole; begin += per_group, init += r.tile_rows) {
    const std::size_t end = whole - begin < per_group ? whole : begin + per_group;
    for (std::size_t row = 0; row < r.tile_rows; row += kLanes) {
      VecI sum[4];
      unroll(chains, [&](auto c) { sum[c] = VecI(0); });
      std::size_t q = begin;
      for (; q + 4 <= end; q += 4)
        unroll(chains,
               [&](auto c) { sum[c] = dot4(sum[c], load_ints(from + (q + c) * r.tile_rows + row), ones); });
      for (; q < end; ++q) sum[0] = dot4(sum[0], load_ints(from + q * r.tile_rows + row), ones);
      alignas(64) std::int32_t lane[kLanes];
      store_ints(lane, (sum[0] + sum[1]) + (sum[2] + sum[3]));
      for (std::size_t i = 0; i < kLanes && row + i < r.tile_rows; ++i)
        init[row + i] = -r.weight_zero_point * lane[i];
    }
  }
}

void pack_rows(const RowsToPack& r, std::byte* out, std::int32_t* init) noexcept {
  const std::uint32_t flip = r.flip * 0x01010101u;
  const auto words = reinterpret_cast<std::uint32_t*>(out);
  // Of words the quads go into the upper half; then from there, in place, to the even and the odd bytes of
  // each.
  std::uint32_t* const whole = words + (r.form == WeightForm::words ? quads(r.k) * r.tile_rows : 0);
  interleave(r, flip, whole);
  if (r.weight_zero_point != 0)
    sums_of_groups(r, whole, init);
  else
    std::memset(init, 0, divide_up(r.k, r.group) * r.tile_rows * sizeof *init);
  if (r.form != WeightForm::words) return;
  for (std::size_t i = 0; i < quads(r.k); ++i)
    for (std::size_t j = 0; j < r.tile_rows; ++j) {
      const std::uint32_t x = whole[i * r.tile_rows + j];
      words[2 * i * r.tile_rows + j] = x & 0x00ff00ff;
      words[(2 * i + 1) * r.tile_rows + j] = x >> 8 & 0x00ff00ff;
    }
}

}  // namespace
}  // namespace nibble::quant::NIBBLE_TIER
