#pragma once

#include <cstdint>

#include "tensor/conv.h"
#include "tensor/kernels/conv.h"

namespace nibble {

// How conv2d works on a batch of float32 images: row by row, so that what comes before or after it can work
// on the same rows while the cache holds them (conv_pool.cpp). Images are the innermost axis in memory.

// Below so many images their lanes would stay empty: they go one by one, the lanes hold output channels.
inline constexpr std::int64_t kFewImages = 8;

// [N, C, H, W] with the memory order C, H, W, N; contents undefined, or those of x.
Tensor empty_batch_innermost(const Shape& shape, DType dtype);
Tensor as_batch_innermost(const Tensor& x);

// From x to an output of shape [N, K, OH, OW] with these strides.
DirectConv direct_conv(const Tensor& x, const Shape& y, const Strides& y_strides, const Shape& weight,
                       const ConvOptions& options);

// The shape of conv2d's result, after all its checks.
Shape check_conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const ConvOptions& options);

enum class ConvMethod { direct, winograd };

// How to compute a gradient.
ConvMethod conv_gradient_method(const DirectConv& conv);

// Calls f(offset of weight [k][c][r][s] with `strides`, k, c, r, s) for all weights of a group.
template <class F>
void for_each_weight(const DirectConv& conv, const Strides& strides, F f) {
  for (std::int64_t k = 0; k < conv.k; ++k)
    for (std::int64_t c = 0; c < conv.c; ++c)
      for (std::int64_t r = 0; r < conv.r; ++r)
        for (std::int64_t s = 0; s < conv.s; ++s)
          f(k * strides[0] + c * strides[1] + r * strides[2] + s * strides[3], k, c, r, s);
}

// A convolution whose weights are packed: those of group g start at weight + g * weight_group. Only the
// direct method adds a bias; it may be null.
class ConvRows {
 public:
  ConvRows(ConvMethod method, const DirectConv& conv, const float* weight, const Strides& weight_strides,
           std::int64_t weight_group, const float* bias, std::int64_t groups);
  // Row `row` of all output channels for the first `images` images, of operands that start at x and y.
  void run(const float* x, float* y, std::int64_t row, std::int64_t images) const;

 private:
  std::int64_t group_size() const { return conv_.r * row_size_ * conv_.c * conv_.k; }

  ConvMethod method_;
  DirectConv conv_;
  std::int64_t groups_, row_size_;
  const float* bias_;
  Tensor packed_;
};

// A weight gradient as sums over chunks of output rows and blocks of a few channels of a group, which may be
// computed in any order, at the same time, and are added up in one.
class ConvWeightSums {
 public:
  ConvWeightSums(const DirectConv& conv, std::int64_t groups);
  std::int64_t blocks() const { return groups_ * k_blocks_ * c_blocks_; }

  void begin(std::int64_t chunks);
  // The sums of a block over rows [row_begin, row_end), which make up the chunk.
  void run(std::int64_t chunk, std::int64_t block, const float* x, const float* grad, std::int64_t row_begin,
           std::int64_t row_end);
  void write_to(Tensor& grad_weight);  // once

 private:
  // The part of the problem that a block stands for, and its first channels.
  struct Block {
    DirectConv conv;
    std::int64_t group, k, c;
  };
  Block block_at(std::int64_t index) const;

  ConvMethod method_;
  DirectConv conv_;
  std::int64_t groups_, channels_, k_blocks_, c_blocks_;
  std::int64_t row_size_;    // sums for a row of taps
  std::int64_t block_size_;  // sums of a block
  std::int64_t chunks_ = 0;
  Tensor totals_;
  float* total_ = nullptr;  // its elements: [chunk][block][sums of the block]
};

}  // namespace nibble
