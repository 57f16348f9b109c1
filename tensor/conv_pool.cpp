#include "tensor/conv_pool.h"

#include <algorithm>
#include <vector>

#include "tensor/conv_rows.h"
#include "tensor/divide_up.h"
#include "tensor/factory.h"
#include "tensor/kernels/reduce.h"
#include "tensor/layout.h"
#include "tensor/parallel.h"
#include "tensor/pool_rows.h"

namespace nibble {
namespace {

// Floats of a convolution's result that L2 holds beside the operands.
constexpr std::int64_t kBandSize = 1 << 16;

// Rows of a convolution's result that become, or come from, rows of the pooled one: [K, rows, OW, images].
struct Band {
  std::int64_t channels, rows, columns, images;

  std::int64_t row_size() const { return columns * images; }
  std::int64_t plane_size() const { return rows * row_size(); }
  std::int64_t size() const { return channels * plane_size(); }
  Strides strides() const { return {1, plane_size(), row_size(), images}; }
};

// Where a result would start of whose rows the band holds `first` and those after it.
float* result_of(float* band_elements, const Band& band, std::int64_t first) {
  return band_elements - first * band.row_size();
}

bool can_fuse(const Tensor& x, const Shape& conv_shape, Size2 kernel, const PoolOptions& pool) {
  return x.dtype() == DType::float32 && x.size(0) >= kFewImages && x.numel() > 0 && conv_shape.numel() > 0 &&
         pool_stride(kernel, pool) == kernel && pool.padding == Size2(0) && pool.dilation == Size2(1) &&
         conv_shape[2] * conv_shape[3] < (1 << 24);
}

}  // namespace

MaxPoolResult conv2d_max_pool2d(const Tensor& input, const Tensor& weight, const Tensor& bias,
                                const ConvOptions& options, Size2 kernel, const PoolOptions& pool) {
  const Shape shape = check_conv2d(input, weight, bias, options);
  if (!can_fuse(input, shape, kernel, pool))
    return max_pool2d(conv2d(input, weight, bias, options), kernel, pool);
  const Shape pooled = pool2d_shape("max_pool2d", shape, kernel, pool);
  MaxPoolResult result{empty_batch_innermost(pooled, DType::float32),
                       empty_batch_innermost(pooled, DType::int32)};
  const Tensor x = as_batch_innermost(input), dense_bias = bias.defined() ? bias.contiguous() : bias;
  const Strides& to = result.values.strides();
  const float* const in = x.data<float>();
  float* const out = result.values.mutable_data<float>();
  std::int32_t* const indices = result.indices.mutable_data<std::int32_t>();

  // Threads share rows, and of a row images. A band has as many of these as L2 holds beside the operands, and
  // no fewer than fill the kernels' registers.
  constexpr std::int64_t kUnit = 2 * kConvLanes;
  const std::int64_t units = divide_up(shape[0], kUnit);
  const std::int64_t most_units =
      std::max<std::int64_t>(2, kBandSize / (shape[1] * kernel.h * shape[3] * kUnit));
  const Band band{shape[1], kernel.h, shape[3], std::min(most_units * kUnit, shape[0])};
  const ConvRows conv(ConvMethod::direct, direct_conv(x, shape, band.strides(), weight.shape(), options),
                      weight.data<float>(), weight.strides(), shape[1] / options.groups * weight.strides()[0],
                      bias.defined() ? dense_bias.data<float>() : nullptr, options.groups);
  parallel_for(pooled[2] * units, 1, [&](std::int64_t begin, std::int64_t end) {
    Tensor elements = empty({band.size()});
    float* const band_elements = elements.mutable_data<float>();
    for (std::int64_t unit = begin, count = 0; unit < end; unit += count) {
      const std::int64_t row = unit / units, image = unit % units * kUnit;
      count = std::min({units - unit % units, end - unit, most_units});
      const std::int64_t images = std::min(count * kUnit, shape[0] - image), first = row * kernel.h;
      float* const y = result_of(band_elements, band, first);
      for (std::int64_t r = first; r < std::min(first + kernel.h, shape[2]); ++r)
        conv.run(in + image, y, r, images);
      DirectPool part = direct_pool(shape, band.strides(), pooled, to, images, kernel, pool);
      part.first_row = row, part.end_row = row + 1;
      for (std::int64_t k = 0; k < shape[1]; ++k)
        pool_kernels().max_pool(part, y + k * band.plane_size(), out + k * to[1] + image,
                                indices + k * to[1] + image);
    }
  });
  return result;
}

ConvParameterGrads conv2d_max_pool2d_backward_parameters(const Tensor& grad_out, const Tensor& indices,
                                                         const Tensor& input, const Shape& weight_shape,
                                                         const ConvOptions& options, Size2 kernel,
                                                         const PoolOptions& pool) {
  const Shape shape = conv2d_shape(input.shape(), weight_shape, options);
  const Shape pooled = pool2d_shape("max_pool2d", shape, kernel, pool);
  const bool fits = grad_out.shape() == pooled && indices.shape() == pooled && indices.strides()[0] == 1 &&
                    indices.strides() == dense_strides_like(indices);
  if (!fits || !can_fuse(input, shape, kernel, pool)) {
    const Tensor grad = max_pool2d_backward(grad_out, indices, shape, kernel, pool);
    return {conv2d_backward_weight(grad, input, weight_shape, options), conv2d_backward_bias(grad)};
  }
  const Tensor x = as_batch_innermost(input), grad = with_strides(grad_out, indices.strides());
  const Strides& from = grad.strides();
  const float *const in = x.data<float>(), *const upstream = grad.data<float>();
  const std::int32_t* const codes = indices.data<std::int32_t>();

  // Cut by a rule that knows the shape alone, and added up in order.
  constexpr std::int64_t kChunks = 16;
  const std::int64_t most_rows =
      std::max<std::int64_t>(1, kBandSize / (shape[1] * kernel.h * shape[3] * shape[0]));
  const std::int64_t chunks = std::max(std::min(kChunks, pooled[2]), divide_up(pooled[2], most_rows));
  const Band band{shape[1], divide_up(pooled[2], chunks) * kernel.h, shape[3], shape[0]};
  ConvWeightSums weight_sums(direct_conv(x, shape, band.strides(), weight_shape, options), options.groups);
  weight_sums.begin(chunks);
  std::vector<double> bias_sums(static_cast<std::size_t>(chunks * shape[1]));
  const bool covers = pooled[3] * kernel.w >= shape[3];
  parallel_for(chunks, 1, [&](std::int64_t begin, std::int64_t end) {
    Tensor elements = covers ? empty({band.size()}) : zeros({band.size()});
    float* const band_elements = elements.mutable_data<float>();
    for (std::int64_t chunk = begin; chunk < end; ++chunk) {
      const std::int64_t pooled_begin = pooled[2] * chunk / chunks,
                         pooled_end = pooled[2] * (chunk + 1) / chunks;
      const std::int64_t row_begin = pooled_begin * kernel.h,
                         row_end = std::min(pooled_end * kernel.h, shape[2]);
      float* const y = result_of(band_elements, band, row_begin);
      DirectPool part = direct_pool(shape, band.strides(), pooled, from, band.images, kernel, pool);
      part.first_row = pooled_begin, part.end_row = pooled_end;
      for (std::int64_t k = 0; k < shape[1]; ++k) {
        pool_kernels().max_pool_backward(part, upstream + k * from[1], codes + k * from[1],
                                         y + k * band.plane_size());
        bias_sums[static_cast<std::size_t>(chunk * shape[1] + k)] = static_cast<double>(
            reduce_kernels().sum(band_elements + k * band.plane_size(),
                                 static_cast<std::size_t>((row_end - row_begin) * band.row_size())));
      }
      for (std::int64_t block = 0; block < weight_sums.blocks(); ++block)
        weight_sums.run(chunk, block, in, y, row_begin, row_end);
    }
  });
  ConvParameterGrads grads{empty(weight_shape), empty({shape[1]})};
  weight_sums.write_to(grads.weight);
  for (std::int64_t k = 0; k < shape[1]; ++k) {
    double sum = 0;
    for (std::int64_t chunk = 0; chunk < chunks; ++chunk)
      sum += bias_sums[static_cast<std::size_t>(chunk * shape[1] + k)];
    grads.bias.mutable_data<float>()[k] = static_cast<float>(sum);
  }
  return grads;
}

}  // namespace nibble
