#pragma once

#include "quant/integer/conv_step.h"
#include "quant/qgemm.h"

namespace nibble::quant {

// One linear layer of the engine: a packed matrix on rows of activation bytes, one row an image.
class LinearStep {
 public:
  // column[i]: where input feature i lies in a row; -1 entries do not occur, columns nobody names have weight
  // 0.
  LinearStep(Isa isa, const IntProduct& layer, const CodeFormat& input,
             const std::vector<std::int64_t>& column, std::int64_t row_bytes);

  const IntProduct& layer() const { return layer_; }
  std::int64_t row_bytes() const { return weights_.k(); }
  std::int64_t out_features() const { return layer_.out_channels(); }

  void run_sums(const std::uint8_t* rows, std::int64_t m,
                std::int32_t* sums) const;  // [m, out_features], with bias
  void run_codes(const std::uint8_t* rows, std::int64_t m,
                 std::uint8_t* bytes) const;  // stored as StoredCodes says

 private:
  ActMatrix matrix(const std::uint8_t* rows, std::int64_t m) const;

  IntProduct layer_;
  PackedMatrix weights_;
  bool signed_bytes_;
  StoredCodes in_, out_;
  std::vector<std::int32_t> multiplier_, shift_;  // [out_features]
};

}  // namespace nibble::quant
