#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/simd/dispatch.h"

// The integer matrix product, one register tile at a time: acc[i, j] = sum over p < k of a[i, p] * w[j, p].
//
// Weights stand in panels: as many columns j as a vector has int32 lanes, the whole depth k of one panel
// after the other. What a panel looks like is a family's own affair (drawn in dot.cpp and bitserial.cpp); all
// families have this table, and the engine above them (quant/qgemm.cpp) knows no difference.
//
// Everything is in stored numbers: weights as w + zero_point of their storage (see PackedMatrix), activations
// as bytes. The corrections for zero points are two sums: of the activations of a row, which pack_rows takes
// and run starts its accumulators from, and of the weights of a column, which is known when weights are
// packed.

namespace nibble::quant {

// How the weights of a tile stand in memory: as packed, or brought from there into a form that costs nothing
// to unpack, which pays when many tiles share them.
enum class WeightForm { packed, bytes, words };

struct RowsToPack {
  const std::uint8_t* const* rows;  // `count` pointers to k bytes each
  std::size_t count;                // rows that exist
  std::size_t tile_rows;            // rows of the tile; those beyond `count` become zeros
  std::size_t k;
  int act_bits;       // planes of the bit-serial family; the dot family takes whole bytes
  int act_step;       // bytes are multiples of it: 2 for binary activations, whose bytes are 0 and 2, else 1
  std::uint8_t flip;  // xor'ed to every byte: 0x80 turns signed into unsigned and back
  WeightForm form;    // of the weights these rows will meet
  std::size_t group;  // sums are taken over so many elements of a row; k where there are no groups
  std::int32_t weight_zero_point;
};

struct QGemmTile {
  std::size_t rows;    // one of QGemmKernels::row_counts
  std::size_t panels;  // 1 to QGemmKernels::max_panels, side by side
  std::size_t k;
  int weight_bits;         // 1, 2, 4 or 8
  int act_bits, act_step;  // as in RowsToPack
  WeightForm form;
  bool fits_int16;     // proved: two neighbouring products of these weights never exceed int16 together
  const std::byte* a;  // from pack_rows, of as many rows
  const std::byte* w;
  std::size_t panel_stride;  // bytes
  const std::int32_t* init;  // [group][row], from pack_rows: where accumulators start
  std::int32_t* acc;  // [rows][panels * lanes], rows row_stride apart; unused where there are group scales
  std::size_t row_stride;

  // Scales by group: sum[i, j] = sum over g of group_scale[g, j] * (acc of group g)[i, j] in float32, in the
  // order of g. A multiple of 32; 0: none.
  std::size_t group;
  const float* group_scale;        // of the first panel: [group][lane]
  std::size_t group_scale_stride;  // floats from panel to panel
  float* sum;                      // as acc

  // 0: `a` is what pack_rows made. Else the rows themselves, so many bytes apart (takes_rows).
  std::size_t a_stride = 0;
};

struct QGemmKernels {
  std::size_t lanes;                // columns of a panel
  std::size_t max_panels;           // of a tile; their columns are a multiple of 8
  const std::size_t* row_counts;    // heights a tile may have, ascending, 0 at the end
  std::size_t least_expanded_rows;  // from this height on weights may have a form other than packed
  bool signed_activations;          // bytes of activations are read as int8, else as uint8

  // Bytes of a packed panel and of packed rows, multiples of 16.
  std::size_t (*panel_bytes)(int weight_bits, std::size_t k) noexcept;
  std::size_t (*row_bytes)(std::size_t tile_rows, std::size_t k, int act_bits, WeightForm form) noexcept;

  // Stored codes [column][k] of n <= lanes columns, `stride` bytes apart, to one panel and back. Other
  // columns become zeros.
  void (*pack_panel)(const std::int8_t* codes, std::size_t stride, std::size_t n, std::size_t k,
                     int weight_bits, std::byte* panel) noexcept;
  void (*unpack_panel)(const std::byte* panel, std::size_t n, std::size_t k, int weight_bits,
                       std::int8_t* codes, std::size_t stride) noexcept;

  // Brings rows into the order in which run reads them. init[group][tile_rows] = -weight_zero_point * sum of
  // the row's bytes (after flip, in the signedness of the kernels) in the group.
  void (*pack_rows)(const RowsToPack& rows, std::byte* out, std::int32_t* init) noexcept;

  // The form that is fastest when so many tiles share a panel, the one that run must be given then; and the
  // way from packed to it, on which codes of fewer than 8 bits lose their zero point (0 for those of 8 bits).
  WeightForm (*best_form)(int weight_bits, bool fits_int16, std::size_t tile_rows,
                          std::size_t tiles) noexcept;
  std::size_t (*expanded_bytes)(std::size_t k, WeightForm form) noexcept;
  void (*expand_panel)(const std::byte* panel, std::size_t k, int weight_bits, std::int32_t zero_point,
                       WeightForm form, std::byte* out) noexcept;

  void (*run)(const QGemmTile& tile) noexcept;

  // Those of row_counts that are worth considering for m rows, without or with scales by group. Null: all.
  const std::size_t* (*row_counts_for)(std::size_t m, bool has_groups) noexcept = nullptr;

  // Whether run takes rows as they are, where nothing has to be done to their bytes: no flip, no sums for a
  // zero point of the weights, whole quads of k, and as many rows as the tile has. Null: never.
  bool (*takes_rows)(int weight_bits, WeightForm form) noexcept = nullptr;
};

// Products of bytes by multiply-add instructions: dot.cpp; by tiles: amx.cpp.
NIBBLE_DECLARE_PRODUCT_KERNELS(QGemmKernels, dot_kernels)
// Products of single bits by AND and population count, weights and activations of 1 or 2 bits: bitserial.cpp.
NIBBLE_DECLARE_INTEGER_KERNELS(QGemmKernels, bitserial_kernels)

}  // namespace nibble::quant
