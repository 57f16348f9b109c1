#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "quant/kernels/bits.h"
#include "quant/kernels/requantize.h"
#include "quant/qgemm.h"
#include "tensor/storage.h"

namespace nibble::quant {

// What is known of the columns of a product: of the weights that belong to each.
struct ColumnFacts {
  std::int64_t n;
  std::span<const std::int32_t> sums;  // [n]
  std::span<const float> scale;        // [n] or [1]; empty where there are scales per group
  std::span<const float> scaled_sums;  // [n] where there are scales per group
};

// What becomes of sums of products of stored numbers, prepared for a whole product and safe for many threads.
class Epilogue {
 public:
  // zero_point: of the activations as stored; scale: theirs. Results are columns [column, column + n) of
  // `out`. Throws std::invalid_argument where a bias could take a sum out of int32.
  Epilogue(Isa isa, const ColumnFacts& columns, std::int32_t zero_point, float scale, const QGemmOutput& out,
           std::int64_t column = 0);

  // A tile's sums, rows of `stride`, at row i and column j of the product.
  struct Sums {
    const std::int32_t* acc;
    const float* scaled;  // with scales per group
    std::int64_t stride, i, j, rows, cols;
  };
  // scratch: rows * cols bytes. Of codes of fewer than 8 bits, column j and `cols` fill whole bytes, but for
  // the last.
  void write(const Sums& sums, std::uint8_t* scratch) const;

  // Where the sum (i, j) may go at once, rows `stride` elements apart; nullptr: there is something to do
  // first.
  struct Place {
    std::int32_t* data;
    std::int64_t stride;
  };
  Place unchanged(std::int64_t i, std::int64_t j) const;

 private:
  void write(const ToInt32& to, const Sums& sums, std::uint8_t*) const;
  void write(const ToFloat& to, const Sums& sums, std::uint8_t*) const;
  void write(const ToCodes& to, const Sums& sums, std::uint8_t* scratch) const;
  SumTile tile(const Sums& sums) const;

  const RequantizeKernels& kernels_;
  const BitsKernels& bits_;
  const QGemmOutput& out_;
  const std::int64_t column_;
  std::shared_ptr<Storage> additions_storage_, scales_storage_;
  const std::int32_t* additions_ = nullptr;  // none if there is nothing to add
  const float *scales_ = nullptr, *float_additions_ = nullptr;
};

}  // namespace nibble::quant
