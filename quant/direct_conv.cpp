#include "quant/direct_conv.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>

#include "tensor/check.h"
#include "tensor/divide_up.h"

namespace nibble::quant {
namespace {

// Sums of a band stay in L1, and its rows fill vectors.
constexpr std::int64_t kBandPositions = 256;
// Vectors reach this far behind the last position of a band.
constexpr std::int64_t kSpare = 64;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

std::int64_t columns_per_word(bool bytes) { return bytes ? 4 : 1; }

}  // namespace

DirectConvWeights::DirectConvWeights(const Tensor& weight, const ConvOptions& options, bool bytes)
    : shape_(weight.shape()), options_(options), bytes_(bytes) {
  const Tensor whole = weight.contiguous();
  for (const std::int8_t w : whole.values<std::int8_t>())
    largest_ = std::max<std::int64_t>(largest_, std::abs(std::int32_t{w}));
  const std::int64_t channels = shape_[0], depth = shape_[1], rows = shape_[2], cols = shape_[3],
                     per_group = channels / options.groups;
  const std::int64_t per_word = bytes ? 1 : 4;  // channels
  const auto weight_at = [&](std::int64_t k, std::int64_t c, std::int64_t r, std::int64_t s) -> std::int8_t {
    if (k >= channels) return 0;
    const std::int64_t own = c - k / per_group * depth;  // within the group
    if (own < 0 || own >= depth || s >= cols) return 0;
    return whole.data<std::int8_t>()[((k * depth + own) * rows + r) * cols + s];
  };
  for (std::int64_t q = 0; q < words_of_channels(channels); ++q) {
    first_term_.push_back(static_cast<std::int64_t>(terms_.size()));
    const std::int64_t last = std::min(4 * q + 3, channels - 1);
    const std::int64_t first_plane = 4 * q / per_group * depth / per_word;
    const std::int64_t last_plane = (last / per_group * depth + depth - 1) / per_word;
    for (std::int64_t p = first_plane; p <= last_plane; ++p)
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t s = 0; s < cols; s += columns_per_word(bytes)) {
          terms_.push_back(
              {static_cast<std::int32_t>(p), static_cast<std::int32_t>(r), static_cast<std::int32_t>(s)});
          for (std::int64_t k = 4 * q; k < 4 * q + 4; ++k) {
            std::uint32_t word = 0;
            for (std::int64_t j = 0; j < 4; ++j) {
              const std::int8_t w = bytes ? weight_at(k, p, r, s + j) : weight_at(k, 4 * p + j, r, s);
              word |= std::uint32_t{static_cast<std::uint8_t>(w)} << (8 * j);
            }
            words_.push_back(word);
          }
        }
  }
  first_term_.push_back(static_cast<std::int64_t>(terms_.size()));
}

std::size_t DirectConvWeights::pairs_depth(std::int64_t largest_activation) const {
  return size(32767 / std::max<std::int64_t>(1, 2 * largest_activation * largest_));
}

std::int64_t DirectConvWeights::size_bytes() const {
  return static_cast<std::int64_t>(words_.size() * sizeof(std::uint32_t) + terms_.size() * sizeof(Term) +
                                   first_term_.size() * sizeof(std::int64_t));
}

PlaneLayout DirectConv::input_of(const Shape& image, const ConvOptions& options, bool bytes) {
  return {.planes = bytes ? image[0] : words_of_channels(image[0]),
          .height = image[1],
          .width = image[2],
          .before = options.padding,
          .after = options.padding};
}

DirectConv::DirectConv(Isa isa, const DirectConvWeights& weights, const Shape& image,
                       std::int64_t row_multiple)
    : kernels_(&direct_conv_kernels(isa)),
      options_(weights.options()),
      window_width_(weights.shape()[3]),
      bytes_(weights.bytes()),
      input_(input_of(image, options_, bytes_)) {
  const Shape out = conv2d_shape({1, image[0], image[1], image[2]}, weights.shape(), options_);
  out_height_ = out[2], out_width_ = out[3];
  taps_ = bytes_ || options_.stride.w != 1 ? divide_up(window_width_, columns_per_word(bytes_)) : 0;
  pitch_ = taps_ == 0 ? input_.pitch() : out_width_;
  row_step_ = options_.stride.h * pitch_;

  const bool one_call = options_.stride.h == 1;
  band_rows_ = kBandPositions / (one_call ? pitch_ : out_width_) / row_multiple * row_multiple;
  band_rows_ = std::min(std::max(band_rows_, row_multiple), out_height_ + out_height_ % 2);
  channel_stride_ =
      divide_up(band_rows_ * std::max(pitch_, divide_up(out_width_, 16) * 16) + kSpare, 16) * 16;

  const std::int64_t plane = input_.rows() * pitch_;
  NIBBLE_CHECK(input_.planes * std::max<std::int64_t>(1, taps_) * plane <= INT32_MAX, "conv2d: an image of ",
               image, " takes more than 2^31 words");
  for (const DirectConvWeights::Term& t : weights.terms()) {
    const std::int64_t row = t.row * options_.dilation.h * pitch_;
    offset_.push_back(static_cast<std::int32_t>(
        taps_ == 0 ? t.plane * plane + row + t.column * options_.dilation.w
                   : (t.plane * taps_ + t.column / columns_per_word(bytes_)) * plane + row));
  }
}

std::int64_t DirectConv::scratch_words() const {
  return taps_ == 0 ? 0 : input_.planes * taps_ * input_.rows() * out_width_ + PlaneLayout::kReadable;
}

// Every row of every plane once for each word of its windows, so that neighbouring positions are neighbours
// again.
const std::uint32_t* DirectConv::words_of(const void* input, std::uint32_t* scratch) const {
  if (taps_ == 0) return static_cast<const std::uint32_t*>(input);
  const std::int64_t stride = options_.stride.w, dilation = options_.dilation.w;
  std::uint32_t* to = scratch;
  for (std::int64_t p = 0; p < input_.planes; ++p)
    for (std::int64_t t = 0; t < taps_; ++t)
      for (std::int64_t y = 0; y < input_.rows(); ++y) {
        const std::int64_t row = p * input_.plane() + y * input_.pitch();
        if (!bytes_) {
          const auto* from = static_cast<const std::uint32_t*>(input) + row + t * dilation;
          for (std::int64_t x = 0; x < out_width_; ++x) *to++ = from[x * stride];
          continue;
        }
        const auto* from = static_cast<const std::uint8_t*>(input) + row + 4 * t * dilation;
        if (stride == 1 && dilation == 1) {
          for (std::int64_t x = 0; x < out_width_; ++x) std::memcpy(to++, from + x, 4);
          continue;
        }
        const std::int64_t bytes = std::min<std::int64_t>(4, window_width_ - 4 * t);
        for (std::int64_t x = 0; x < out_width_; ++x) {
          std::uint32_t word = 0;
          for (std::int64_t j = 0; j < bytes; ++j)
            word |= std::uint32_t{from[x * stride + j * dilation]} << (8 * j);
          *to++ = word;
        }
      }
  return scratch;
}

void DirectConv::sums(const DirectConvWeights& weights, std::int64_t quad, const std::uint32_t* words,
                      std::int64_t y, std::int64_t rows, const std::int32_t* init, std::size_t pairs_depth,
                      std::int32_t* acc) const {
  const std::int64_t first = weights.first_term(quad);
  DirectConvTile tile{.input = words + y * row_step_,
                      .offset = offset_.data() + first,
                      .weight = weights.words(quad),
                      .terms = size(weights.first_term(quad + 1) - first),
                      .positions = size((rows - 1) * pitch_ + out_width_),
                      .init = init,
                      .acc = acc,
                      .acc_stride = size(channel_stride_),
                      .pairs_depth = pairs_depth};
  if (options_.stride.h == 1) return kernels_->run(tile);
  tile.positions = size(out_width_);
  for (std::int64_t r = 0; r < rows; ++r) {
    kernels_->run(tile);
    tile.input += row_step_;
    tile.acc += pitch_;
  }
}

}  // namespace nibble::quant
