#pragma once

#include <cstdint>
#include <vector>

#include "quant/direct_conv.h"
#include "quant/integer/model.h"
#include "quant/kernels/requantize_words.h"
#include "quant/plane_layout.h"

namespace nibble::quant {

// Bytes of activations as the kernels of a tier want them: stored = code + offset, uint8 or int8.
struct StoredCodes {
  CodeFormat format;
  std::int32_t offset;

  StoredCodes(const CodeFormat& format, bool signed_bytes);
  std::int32_t zero_point() const { return format.zero_point + offset; }
  std::int32_t lo() const { return format.lo + offset; }
  std::int32_t hi() const { return format.hi + offset; }
  std::uint8_t zero_byte() const { return static_cast<std::uint8_t>(zero_point()); }
  std::int32_t code(std::uint8_t byte, bool signed_bytes) const {
    return (signed_bytes ? static_cast<std::int8_t>(byte) : byte) - offset;
  }
};

// One convolution of the engine, ready to run: the direct convolution, and what becomes of its sums.
class ConvStep {
 public:
  // What `input` has to look like: planes of bytes or of words, with padding.
  struct Input {
    bool bytes;
    PlaneLayout layout;
  };
  static Input input_of(const IntProduct& layer, const Shape& image, bool of_pixels);

  // image: [C, H, W] of the input. With pool2 the codes are pooled 2 x 2, stride 2.
  ConvStep(Isa isa, const IntProduct& layer, const Shape& image, const CodeFormat& input, bool of_pixels,
           bool pool2);

  const IntProduct& layer() const { return layer_; }
  bool pool2() const { return pool2_; }
  std::size_t scratch_bytes() const;

  // Codes as words at `out`, from its first pixel. Layers without requantization have sums only.
  void run(const void* input, std::byte* scratch, std::uint32_t* out, const PlaneLayout& layout) const;
  // The sums, with bias, and the codes, not pooled, as int32 [K, height, width] of the output; nullptr: not
  // wanted.
  void run_unfused(const void* input, std::byte* scratch, std::int32_t* sums, std::int32_t* codes) const;

 private:
  void set_init();
  void set_scales(const CodeFormat& input);
  template <class F>
  void for_each_quad(const void* input, std::byte* scratch, F f) const;
  std::size_t input_bytes() const;  // of words of windows, in front of the sums
  WordTile word_tile(const std::int32_t* acc, std::int64_t quad, std::int64_t rows) const;

  const RequantizeWordsKernels& requantize_;
  IntProduct layer_;
  bool signed_bytes_;
  StoredCodes in_;
  StoredCodes out_;
  bool pool2_;
  DirectConvWeights weights_;
  DirectConv conv_;
  std::size_t pairs_depth_;
  std::vector<std::int32_t> init_, multiplier_, shift_;  // [4 * quads]
  std::vector<double> scale_;  // the same, or empty: products are not exact in double
};

}  // namespace nibble::quant
