#include "tensor/conv_rows.h"

#include <algorithm>
#include <array>

#include "tensor/divide_up.h"
#include "tensor/factory.h"
#include "tensor/kernels/elementwise.h"
#include "tensor/kernels/winograd.h"

namespace nibble {

Tensor empty_batch_innermost(const Shape& shape, DType dtype) {
  return empty({shape[1], shape[2], shape[3], shape[0]}, dtype).permute({3, 0, 1, 2});
}

Tensor as_batch_innermost(const Tensor& x) {
  if (x.shape()[0] == 1 || x.strides()[0] == 1) return x;
  Tensor result = empty_batch_innermost(x.shape(), x.dtype());
  result.copy_from(x);
  return result;
}

DirectConv direct_conv(const Tensor& x, const Shape& y, const Strides& to, const Shape& weight,
                       const ConvOptions& o) {
  const Strides& from = x.strides();
  return {{.c = weight[1],
           .h = x.size(2),
           .w = x.size(3),
           .k = weight[0] / o.groups,
           .oh = y[2],
           .ow = y[3],
           .r = weight[2],
           .s = weight[3],
           .stride_h = o.stride.h,
           .stride_w = o.stride.w,
           .padding_h = o.padding.h,
           .padding_w = o.padding.w,
           .dilation_h = o.dilation.h,
           .dilation_w = o.dilation.w},
          x.size(0),
          from[1],
          from[2],
          from[3],
          to[1],
          to[2],
          to[3]};
}

ConvMethod conv_gradient_method(const DirectConv& conv) {
  const bool fits = conv.s == 3 && conv.stride_w == 1 && conv.dilation_w == 1 && conv.k > 1;
  return fits && conv.images >= kFewImages && winograd_kernels().convolve != nullptr ? ConvMethod::winograd
                                                                                     : ConvMethod::direct;
}

ConvRows::ConvRows(ConvMethod method, const DirectConv& conv, const float* weight,
                   const Strides& weight_strides, std::int64_t weight_group, const float* bias,
                   std::int64_t groups)
    : method_(method),
      conv_(conv),
      groups_(groups),
      row_size_(method == ConvMethod::winograd ? 4 : conv.s),
      bias_(bias),
      packed_(empty({groups * group_size()})) {
  for (std::int64_t g = 0; g < groups; ++g) {
    const float* const from = weight + g * weight_group;
    float* const to = packed_.mutable_data<float>() + g * group_size();
    for_each_weight(conv, weight_strides,
                    [&](std::int64_t at, std::int64_t k, std::int64_t c, std::int64_t r, std::int64_t s) {
                      if (method == ConvMethod::direct) {
                        to[((r * conv.s + s) * conv.c + c) * conv.k + k] = from[at];
                      } else if (s == 0) {
                        const std::int64_t step = weight_strides[3];
                        const auto row = winograd_weight(from[at], from[at + step], from[at + 2 * step]);
                        std::copy(row.begin(), row.end(), to + ((r * conv.c + c) * conv.k + k) * 4);
                      }
                    });
  }
}

void ConvRows::run(const float* x, float* y, std::int64_t row, std::int64_t images) const {
  DirectConv conv = conv_;
  conv.images = images;
  for (std::int64_t g = 0; g < groups_; ++g) {
    const float* const in = x + g * conv.c * conv.x_c;
    const float* const weight = packed_.data<float>() + g * group_size();
    float* const out = y + g * conv.k * conv.y_k;
    if (method_ == ConvMethod::winograd)
      winograd_kernels().convolve(conv, in, weight, out, row);
    else
      conv_kernels().forward(conv, in, weight, bias_ == nullptr ? nullptr : bias_ + g * conv.k, out, row);
  }
}

ConvWeightSums::ConvWeightSums(const DirectConv& conv, std::int64_t groups)
    : method_(conv_gradient_method(conv)),
      conv_(conv),
      groups_(groups),
      channels_(conv.s == 1 ? 12 : 4),  // input channels of a block: its gradients come from L2
      k_blocks_(divide_up(conv.k, kConvGradChannels)),
      c_blocks_(divide_up(conv.c, channels_)),
      row_size_(method_ == ConvMethod::winograd ? 4 : conv.s),
      block_size_(kConvGradChannels * channels_ * conv.r * row_size_) {}

void ConvWeightSums::begin(std::int64_t chunks) {
  chunks_ = chunks;
  totals_ = zeros({chunks, blocks(), block_size_});
  total_ = totals_.mutable_data<float>();
}

ConvWeightSums::Block ConvWeightSums::block_at(std::int64_t index) const {
  Block b{conv_, index / (k_blocks_ * c_blocks_), index / c_blocks_ % k_blocks_ * kConvGradChannels,
          index % c_blocks_ * channels_};
  b.conv.k = std::min(kConvGradChannels, conv_.k - b.k);
  b.conv.c = std::min(channels_, conv_.c - b.c);
  return b;
}

void ConvWeightSums::run(std::int64_t chunk, std::int64_t block, const float* x, const float* grad,
                         std::int64_t row_begin, std::int64_t row_end) {
  const Block b = block_at(block);
  const std::int64_t size = b.conv.k * b.conv.c * conv_.r * row_size_;
  Tensor sums = zeros({size, kConvLanes});
  const auto add_products =
      method_ == ConvMethod::winograd ? winograd_kernels().backward_weight : conv_kernels().backward_weight;
  add_products(b.conv, x + (b.group * conv_.c + b.c) * conv_.x_c,
               grad + (b.group * conv_.k + b.k) * conv_.y_k, sums.mutable_data<float>(), row_begin, row_end);
  conv_kernels().reduce_sums(sums.data<float>(), total_ + (chunk * blocks() + block) * block_size_, size);
}

void ConvWeightSums::write_to(Tensor& grad_weight) {
  const std::int64_t size = blocks() * block_size_;
  for (std::int64_t chunk = 1; chunk < chunks_; ++chunk)
    elementwise_kernels().add(total_, 1, total_ + chunk * size, 1, total_, static_cast<std::size_t>(size));
  const Strides& strides = grad_weight.strides();
  for (std::int64_t index = 0; index < blocks(); ++index) {
    const Block b = block_at(index);
    const float* const sum = total_ + index * block_size_;
    float* const at =
        grad_weight.mutable_data<float>() + (b.group * conv_.k + b.k) * strides[0] + b.c * strides[1];
    std::array<float, 4> row{};  // the sums behind three taps
    for_each_weight(b.conv, strides,
                    [&](std::int64_t to, std::int64_t k, std::int64_t c, std::int64_t r, std::int64_t s) {
                      if (method_ == ConvMethod::winograd) {
                        const std::int64_t from = ((r * b.conv.c + c) * b.conv.k + k) * 4;
                        if (s == 0) row = {sum[from], sum[from + 1], sum[from + 2], sum[from + 3]};
                        at[to] = winograd_tap(row, s);
                      } else {
                        at[to] = sum[((r * b.conv.c + c) * b.conv.s + s) * b.conv.k + k];
                      }
                    });
  }
}

}  // namespace nibble
