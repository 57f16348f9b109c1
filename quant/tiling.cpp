#include "quant/tiling.h"

#include <algorithm>

namespace nibble::quant {
namespace {

// Binary activations are stored as 0 and 2.
int largest_activation(int act_bits) { return act_bits == 1 ? 2 : (1 << act_bits) - 1; }

// Of ascending heights, the smallest for so many rows.
std::int64_t smallest_height(const std::size_t* heights, std::int64_t rows) {
  while (static_cast<std::int64_t>(*heights) < rows) ++heights;
  return static_cast<std::int64_t>(*heights);
}

}  // namespace

Tiling::Tiling(const PackedMatrix& w, std::int64_t m, int act_bits) : m(m) {
  const QGemmKernels& kernels = w.kernels();
  const std::size_t* const heights =
      kernels.row_counts_for == nullptr ? kernels.row_counts
                                        : kernels.row_counts_for(static_cast<std::size_t>(m), w.group() != 0);
  // A tile costs its rows, real or not, and its loads of weights, which are worth another row.
  std::int64_t least = 0;
  for (const std::size_t* each = heights; *each != 0; ++each) {
    const auto rows = static_cast<std::int64_t>(*each);
    const std::int64_t rest = m % rows;
    const std::int64_t cost = m / rows * (rows + 1) + (rest == 0 ? 0 : smallest_height(heights, rest) + 1);
    if (least == 0 || cost < least) least = cost, height = rows;
  }
  tiles = (m + height - 1) / height;
  const int bits = w.options().bit_width;
  fits_int16 = bits < 8 || largest_activation(act_bits) * w.max_pair() <= 32767;
  form =
      kernels.best_form(bits, fits_int16, static_cast<std::size_t>(height), static_cast<std::size_t>(tiles));
  weight_zero_point = form == WeightForm::packed || bits == 8 ? w.stored_zero_point() : 0;
  can_read_rows = kernels.takes_rows != nullptr && kernels.takes_rows(bits, form) && weight_zero_point == 0 &&
                  w.k() % 4 == 0 && w.group() == 0;
  const std::int64_t least_rows =
      form == WeightForm::packed ? 1 : static_cast<std::int64_t>(kernels.least_expanded_rows);
  last_height = smallest_height(heights, std::max(least_rows, m - (tiles - 1) * height));
}

}  // namespace nibble::quant
