#include "quant/code_pool.h"

#include <algorithm>

namespace nibble::quant {

CodePool::CodePool(Isa isa, bool is_signed, std::uint8_t least, std::int64_t height, std::int64_t width,
                   std::int64_t channels, Size2 kernel, const PoolOptions& options)
    : max_(is_signed ? max_kernels(isa).max_s8 : max_kernels(isa).max_u8),
      least_(least),
      channels_(channels) {
  const Size2 stride = options.stride == Size2(0) ? kernel : options.stride;
  down_ = {height, kernel.h, stride.h, options.padding.h, options.dilation.h};
  along_ = {width, kernel.w, stride.w, options.padding.w, options.dilation.w};
}

void CodePool::reduce(const Axis& axis, std::int64_t i, const std::uint8_t* x, std::int64_t step,
                      std::int64_t bytes, std::uint8_t* y) const {
  // Of a larger window the maximum so far is a row among the next ones.
  constexpr std::size_t kRows = 8;
  const std::uint8_t* rows[kRows];
  std::size_t count = 0;
  const auto take_maximum = [&] {
    max_(rows, count, static_cast<std::size_t>(bytes), y);
    rows[0] = y;
    count = 1;
  };
  for (std::int64_t t = 0; t < axis.window; ++t) {
    const std::int64_t at = i * axis.stride + t * axis.dilation - axis.padding;
    if (at < 0 || at >= axis.size) continue;
    if (count == kRows) take_maximum();
    rows[count++] = x + at * step;
  }
  if (count > 0)
    take_maximum();
  else
    std::fill_n(y, bytes, least_);
}

void CodePool::run(const std::uint8_t* image, std::int64_t pitch, std::int64_t row, std::int64_t columns,
                   std::uint8_t* y, std::uint8_t* scratch) const {
  reduce(down_, row, image, pitch, scratch_bytes(), scratch);
  for (std::int64_t column = 0; column < columns; ++column)
    reduce(along_, column, scratch, channels_, channels_, y + column * channels_);
}

}  // namespace nibble::quant
