#pragma once

#include <cstdint>

#include "quant/qgemm.h"

namespace nibble::quant {

// Where the rows of the left operand of a product come from: a matrix, or the windows of a convolution.
class RowSource {
 public:
  virtual ~RowSource() = default;
  // The k bytes of row i: in place, or written to `scratch` (k bytes); of all rows the same.
  virtual const std::uint8_t* row(std::int64_t i, std::uint8_t* scratch) const = 0;
};

// qgemm with any source of m rows of w.k() bytes, the codes of `format` (binary ones as 0 and 2): none may be larger
// than its bits allow, which sums of int16 rely on. Columns [column, column + w.n()) of the results are written.
void qgemm(std::int64_t m, const RowSource& rows, const ActFormat& format, const PackedMatrix& w,
           const QGemmOutput& out, std::int64_t column = 0);

}  // namespace nibble::quant
