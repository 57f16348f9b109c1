#pragma once

#include <cstdint>
#include <vector>

#include "quant/kernels/direct_conv.h"
#include "quant/plane_layout.h"
#include "tensor/conv.h"
#include "tensor/tensor.h"

namespace nibble::quant {

// The weights of an integer convolution for direct kernels: words of four weights. A quad is four output
// channels. Its terms are all words of input that any of them reads; where groups make them read different
// channels, the weights of the others are 0.
class DirectConvWeights {
 public:
  // weight: int8 [K, C / groups, R, S]. Words are of four channels of a pixel or, with bytes (one group
  // only), of four neighbouring pixels of a channel.
  DirectConvWeights(const Tensor& weight, const ConvOptions& options, bool bytes);
  // Whether bytes make fuller words.
  static bool prefers_bytes(std::int64_t channels, std::int64_t groups) {
    return channels < 3 && groups == 1;
  }

  struct Term {
    std::int32_t plane, row, column;  // of the input; a window begins at row 0 and column 0
  };

  const Shape& shape() const { return shape_; }
  const ConvOptions& options() const { return options_; }
  bool bytes() const { return bytes_; }
  std::int64_t quads() const { return static_cast<std::int64_t>(first_term_.size()) - 1; }
  std::int64_t first_term(std::int64_t quad) const { return first_term_[static_cast<std::size_t>(quad)]; }
  const std::vector<Term>& terms() const { return terms_; }
  // DirectConvTile::pairs_depth for activations whose stored bytes are at most so large, without sign.
  std::size_t pairs_depth(std::int64_t largest_activation) const;
  const std::uint32_t* words(std::int64_t quad) const { return words_.data() + 4 * first_term(quad); }
  std::int64_t size_bytes() const;

 private:
  Shape shape_;
  ConvOptions options_;
  bool bytes_;
  std::int64_t largest_ = 1;  // of the weights, without sign
  std::vector<Term> terms_;
  std::vector<std::int64_t> first_term_;  // [quads + 1]
  std::vector<std::uint32_t> words_;      // [term][4]
};

// How the sums of an integer convolution are taken from images of one size, one image at a time: where its
// windows are found, and how many rows at once.
class DirectConv {
 public:
  // What an image has to look like: planes of bytes or of words, with padding.
  static PlaneLayout input_of(const Shape& image, const ConvOptions& options, bool bytes);

  // image: [C, H, W]. Bands have a multiple of row_multiple rows.
  DirectConv(Isa isa, const DirectConvWeights& weights, const Shape& image, std::int64_t row_multiple = 1);

  const PlaneLayout& input() const { return input_; }
  std::int64_t out_height() const { return out_height_; }
  std::int64_t out_width() const { return out_width_; }
  // Rows of the output whose sums stay in L1; the last band may have more than are left.
  std::int64_t band_rows() const { return band_rows_; }
  // Of sums: from row to row and from channel to channel.
  std::int64_t pitch() const { return pitch_; }
  std::int64_t channel_stride() const { return channel_stride_; }

  // The input as sums() reads it: where windows do not lie in words, words of them in `scratch`.
  std::int64_t scratch_words() const;
  const std::uint32_t* words_of(const void* input, std::uint32_t* scratch) const;

  // Sums of the channels of a quad and `rows` rows of the output from y on: channel k, row r and position x
  // at acc[k * channel_stride() + r * pitch() + x]. init: [4], what sums begin with. pairs_depth:
  // DirectConvTile.
  void sums(const DirectConvWeights& weights, std::int64_t quad, const std::uint32_t* words, std::int64_t y,
            std::int64_t rows, const std::int32_t* init, std::size_t pairs_depth, std::int32_t* acc) const;

 private:
  const DirectConvKernels* kernels_;
  ConvOptions options_;
  std::int64_t window_width_;
  bool bytes_;
  PlaneLayout input_;
  std::int64_t out_height_, out_width_;
  std::int64_t taps_;              // words that are built of each row of a plane; 0: none
  std::int64_t pitch_, row_step_;  // words from one output row to the next in the input
  std::int64_t band_rows_, channel_stride_;
  std::vector<std::int32_t> offset_;  // of terms
};

}  // namespace nibble::quant
