#include "quant/qpool.h"

#include <algorithm>
#include <vector>

#include "quant/code_bytes.h"
#include "quant/code_pool.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"

namespace nibble::quant {

Tensor qmax_pool2d(const Tensor& codes, Size2 kernel, const PoolOptions& options) {
  NIBBLE_CHECK(codes.defined(), "qmax_pool2d: codes are undefined");
  const DType dtype = codes.dtype();
  NIBBLE_CHECK(dtype == DType::uint8 || dtype == DType::int8, "qmax_pool2d: codes are ", dtype,
               ", expected uint8 or int8");
  NIBBLE_CHECK(!options.relu, "qmax_pool2d: relu is set, expected codes that are rectified already");
  const Shape shape = pool2d_shape("qmax_pool2d", codes.shape(), kernel, options);
  const Tensor x = codes.permute({0, 2, 3, 1}).contiguous();
  Tensor y = empty({shape[0], shape[2], shape[3], shape[1]}, dtype);
  const Tensor result = y.permute({0, 3, 1, 2});
  if (y.numel() == 0) return result;

  const std::int64_t row_bytes = x.size(2) * x.size(3), rows = shape[2], columns = shape[3];
  const bool is_signed = dtype == DType::int8;
  const CodePool pool(active_isa(), is_signed, is_signed ? 0x80 : 0, x.size(1), x.size(2), x.size(3), kernel,
                      options);
  constexpr std::int64_t kGrain = 32768;  // bytes: below that a second thread costs more than it brings
  const std::int64_t per_row = std::max<std::int64_t>(1, kernel.h * row_bytes);
  const std::uint8_t* const source = code_bytes(x);
  std::uint8_t* const target = mutable_code_bytes(y);
  parallel_for(shape[0] * rows, std::max<std::int64_t>(1, kGrain / per_row),
               [&](std::int64_t begin, std::int64_t end) {
                 std::vector<std::uint8_t> scratch(static_cast<std::size_t>(pool.scratch_bytes()));
                 for (std::int64_t i = begin; i < end; ++i)
                   pool.run(source + i / rows * x.size(1) * row_bytes, row_bytes, i % rows, columns,
                            target + i * columns * x.size(3), scratch.data());
               });
  return result;
}

}  // namespace nibble::quant
