#pragma once

#include <cstdint>

#include "quant/kernels/max_codes.h"
#include "tensor/pool.h"

namespace nibble::quant {

// Max pooling of the codes of an image, one byte each, row by row: a maximum of maxima, first down whole rows
// of the image, then along the one row that is left. Padding never wins.
class CodePool {
 public:
  // Images of `height` rows of `width` pixels of `channels` bytes next to each other, int8 if `is_signed`,
  // else uint8. `least` stands for windows that hold no code. Sizes are the caller's to check (pool2d_shape).
  CodePool(Isa isa, bool is_signed, std::uint8_t least, std::int64_t height, std::int64_t width,
           std::int64_t channels, Size2 kernel, const PoolOptions& options);

  std::int64_t scratch_bytes() const { return along_.size * channels_; }

  // The first `columns` pixels of row `row` of the result. Rows of the image are `pitch` bytes apart.
  void run(const std::uint8_t* image, std::int64_t pitch, std::int64_t row, std::int64_t columns,
           std::uint8_t* y, std::uint8_t* scratch) const;

 private:
  struct Axis {
    std::int64_t size, window, stride, padding, dilation;
  };

  // y = the maximum of `bytes` bytes each at x, x + step, ... for the positions of window `i` on the axis.
  void reduce(const Axis& axis, std::int64_t i, const std::uint8_t* x, std::int64_t step, std::int64_t bytes,
              std::uint8_t* y) const;

  MaxKernels::Max max_;
  std::uint8_t least_;
  std::int64_t channels_;
  Axis down_, along_;
};

}  // namespace nibble::quant
