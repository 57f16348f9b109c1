#include "quant/qpool.h"

#include <algorithm>
#include <vector>

#include "quant/kernels/max_codes.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"

namespace nibble::quant {
namespace {

struct Axis {
  std::int64_t size, window, stride, padding, dilation;

  // Calls f with every position of window `i` that is not padding.
  template <class F>
  void for_each_in_window(std::int64_t i, F f) const {
    for (std::int64_t r = 0; r < window; ++r) {
      const std::int64_t at = i * stride + r * dilation - padding;
      if (at >= 0 && at < size) f(at);
    }
  }
};

// Rows of a window that were found to count, and the maximum over them.
class Maximum {
 public:
  Maximum(bool is_signed, std::int64_t most) : is_signed_(is_signed), rows_(static_cast<std::size_t>(most)) {}

  void clear() { count_ = 0; }
  void add(const std::uint8_t* row) { rows_[count_++] = row; }
  void store(std::uint8_t* out, std::int64_t n) const {
    const auto bytes = static_cast<std::size_t>(n);
    if (count_ == 0) {
      std::fill_n(out, bytes, is_signed_ ? std::uint8_t{0x80} : std::uint8_t{0});
      return;
    }
    (is_signed_ ? kernels_.max_s8 : kernels_.max_u8)(rows_.data(), count_, bytes, out);
  }

 private:
  const MaxKernels& kernels_ = max_kernels();
  bool is_signed_;
  std::vector<const std::uint8_t*> rows_;
  std::size_t count_ = 0;
};

// A maximum of maxima: down whole rows of the image first, many channels and pixels at a time, then along the
// one row that is left.
void pool(const std::uint8_t* x, const Axis& down, const Axis& along, std::int64_t channels, bool is_signed,
          std::int64_t out_rows, std::int64_t out_columns, std::uint8_t* y, std::int64_t begin,
          std::int64_t end) {
  const std::int64_t row_bytes = along.size * channels;
  std::vector<std::uint8_t> line(static_cast<std::size_t>(row_bytes));
  Maximum rows(is_signed, down.window), pixels(is_signed, along.window);
  for (std::int64_t i = begin; i < end; ++i) {
    const std::uint8_t* const image = x + i / out_rows * down.size * row_bytes;
    rows.clear();
    down.for_each_in_window(i % out_rows, [&](std::int64_t at) { rows.add(image + at * row_bytes); });
    rows.store(line.data(), row_bytes);
    for (std::int64_t j = 0; j < out_columns; ++j) {
      pixels.clear();
      along.for_each_in_window(j, [&](std::int64_t at) { pixels.add(line.data() + at * channels); });
      pixels.store(y + (i * out_columns + j) * channels, channels);
    }
  }
}

const std::uint8_t* bytes_of(const Tensor& t) {
  if (t.dtype() == DType::uint8) return t.data<std::uint8_t>();
  return reinterpret_cast<const std::uint8_t*>(t.data<std::int8_t>());
}
std::uint8_t* mutable_bytes_of(Tensor& t) {
  if (t.dtype() == DType::uint8) return t.mutable_data<std::uint8_t>();
  return reinterpret_cast<std::uint8_t*>(t.mutable_data<std::int8_t>());
}

}  // namespace

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

  const Size2 stride = options.stride == Size2(0) ? kernel : options.stride;
  const Axis down{x.size(1), kernel.h, stride.h, options.padding.h, options.dilation.h};
  const Axis along{x.size(2), kernel.w, stride.w, options.padding.w, options.dilation.w};
  constexpr std::int64_t kGrain = 32768;  // bytes: below that a second thread costs more than it brings
  const std::int64_t per_row = std::max<std::int64_t>(1, kernel.h * x.size(2) * x.size(3));
  const std::uint8_t* const source = bytes_of(x);
  std::uint8_t* const target = mutable_bytes_of(y);
  parallel_for(shape[0] * shape[2], std::max<std::int64_t>(1, kGrain / per_row),
               [&](std::int64_t begin, std::int64_t end) {
                 pool(source, down, along, x.size(3), dtype == DType::int8, shape[2], shape[3], target, begin,
                      end);
               });
  return result;
}

}  // namespace nibble::quant
