#include "tensor/gemm.h"

#include "tensor/check.h"
#include "tensor/kernels/reference.h"

namespace nibble {

void gemm(std::int64_t m, std::int64_t n, std::int64_t k, MatrixRef<const float> a, MatrixRef<const float> b,
          MatrixRef<float> c, const GemmOptions& options) {
  reference::gemm<float, double>(m, n, k, a.data, a.row_stride, a.col_stride, b.data, b.row_stride,
                                 b.col_stride, c.data, c.row_stride, c.col_stride, options.accumulate);
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      float& value = c.data[i * c.row_stride + j * c.col_stride];
      if (options.row_bias != nullptr) value += options.row_bias[i];
      if (options.col_bias != nullptr) value += options.col_bias[j];
      if (options.relu && value < 0) value = 0;
    }
}

}  // namespace nibble
