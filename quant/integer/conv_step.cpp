#include "quant/integer/conv_step.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "quant/integer/bounds.h"
#include "tensor/check.h"
#include "tensor/divide_up.h"

namespace nibble::quant {
namespace {

// Sums of a band stay in L1, and its rows fill vectors.
constexpr std::int64_t kBandPositions = 256;
// Vectors reach this far behind the last position of a band.
constexpr std::int64_t kSpare = 64;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

// Below three channels, four neighbouring pixels make fuller words than four channels would.
bool builds_windows_of_bytes(const IntProduct& layer, std::int64_t channels, bool of_pixels) {
  return of_pixels && channels < 3 && layer.options.groups == 1;
}

}  // namespace

StoredCodes::StoredCodes(const CodeFormat& format, bool signed_bytes) : format(format), offset(0) {
  if (format.bit_width > 8) return;
  if (signed_bytes && !format.is_signed && format.hi > 127) offset = -128;
  if (!signed_bytes && format.is_signed) offset = 1 << (format.bit_width - 1);
}

ConvStep::Input ConvStep::input_of(const IntProduct& layer, const Shape& image, bool of_pixels) {
  const bool bytes = builds_windows_of_bytes(layer, image[0], of_pixels);
  return {bytes,
          {.planes = bytes ? image[0] : words_of_channels(image[0]),
           .height = image[1],
           .width = image[2],
           .before = layer.options.padding,
           .after = layer.options.padding}};
}

ConvStep::ConvStep(Isa isa, const IntProduct& layer, const Shape& image, const CodeFormat& input,
                   bool of_pixels, bool pool2)
    : kernels_(direct_conv_kernels(isa)),
      requantize_(requantize_words_kernels(isa)),
      layer_(layer),
      in_(input, kernels_.signed_activations),
      out_(layer.out, kernels_.signed_activations),
      pool2_(pool2),
      out_height_(output_shape(layer, image)[1]),
      out_width_(output_shape(layer, image)[2]),
      input_(input_of(layer, image, of_pixels)) {
  layer_.weight = layer_.weight.contiguous();
  set_terms(image);
  set_bands();
  set_weights();
  set_scales(input);
  const std::int64_t largest_weight = layer_.weight_bits == 1 ? 1 : (1 << (layer_.weight_bits - 1)) - 1;
  pairs_depth_ = size(32767 / std::max<std::int64_t>(1, 2 * largest_stored() * largest_weight));
}

void ConvStep::set_terms(const Shape& image) {
  const ConvOptions& options = layer_.options;
  const std::int64_t taps = layer_.weight.size(3);
  if (input_.bytes)
    taps_ = divide_up(taps, 4);
  else if (options.stride.w != 1)
    taps_ = taps;
  pitch_ = taps_ == 0 ? input_.layout.pitch() : out_width_;
  row_step_ = options.stride.h * pitch_;
  NIBBLE_CHECK(image[0] == layer_.weight.size(1) * options.groups, layer_.name, ": input has ", image[0],
               " channels, expected ", layer_.weight.size(1) * options.groups);
}

void ConvStep::set_bands() {
  const bool one_call = layer_.options.stride.h == 1;
  band_rows_ = std::max<std::int64_t>(1, kBandPositions / (one_call ? pitch_ : out_width_));
  if (pool2_) band_rows_ = std::max<std::int64_t>(2, band_rows_ / 2 * 2);
  band_rows_ = std::min(band_rows_, out_height_ + out_height_ % 2);
  channel_stride_ =
      divide_up(band_rows_ * std::max(pitch_, divide_up(out_width_, 16) * 16) + kSpare, 16) * 16;
}

// A quad is four output channels. Its terms are all words of input that any of them reads; where groups make
// them read different channels, the weights of the others are 0.
void ConvStep::set_weights() {
  const ConvOptions& options = layer_.options;
  const std::int64_t channels = layer_.out_channels(), depth = layer_.weight.size(1),
                     rows = layer_.weight.size(2), cols = layer_.weight.size(3),
                     per_group = channels / options.groups;
  const std::int64_t quads = words_of_channels(channels);
  const std::int64_t plane =
      (taps_ == 0 ? input_.layout.rows() * input_.layout.pitch() : input_.layout.rows() * out_width_);
  const std::int64_t per_word = input_.bytes ? 1 : 4;  // channels
  const std::int64_t cols_per_word = input_.bytes ? 4 : 1;
  const auto weight_at = [&](std::int64_t k, std::int64_t c, std::int64_t r, std::int64_t s) -> std::int8_t {
    if (k >= channels) return 0;
    const std::int64_t own = c - k / per_group * depth;  // within the group
    if (own < 0 || own >= depth || s >= cols) return 0;
    return layer_.weight.data<std::int8_t>()[((k * depth + own) * rows + r) * cols + s];
  };
  for (std::int64_t q = 0; q < quads; ++q) {
    first_term_.push_back(offset_.size());
    const std::int64_t last = std::min(4 * q + 3, channels - 1);
    const std::int64_t first_plane = 4 * q / per_group * depth / per_word;
    const std::int64_t last_plane = (last / per_group * depth + depth - 1) / per_word;
    for (std::int64_t p = first_plane; p <= last_plane; ++p)
      for (std::int64_t r = 0; r < rows; ++r)
        for (std::int64_t s = 0; s < cols; s += cols_per_word) {
          const std::int64_t row = r * options.dilation.h * pitch_;
          offset_.push_back(static_cast<std::int32_t>(taps_ == 0
                                                          ? p * plane + row + s * options.dilation.w
                                                          : (p * taps_ + s / cols_per_word) * plane + row));
          for (std::int64_t k = 4 * q; k < 4 * q + 4; ++k) {
            std::uint32_t word = 0;
            for (std::int64_t j = 0; j < 4; ++j) {
              const std::int8_t w = input_.bytes ? weight_at(k, p, r, s + j) : weight_at(k, 4 * p + j, r, s);
              word |= std::uint32_t{static_cast<std::uint8_t>(w)} << (8 * j);
            }
            weight_.push_back(word);
          }
        }
    for (std::int64_t k = 4 * q; k < 4 * q + 4; ++k) {
      std::int64_t sum = 0;
      for (std::int64_t i = 0; k < channels && i < depth * rows * cols; ++i)
        sum += layer_.weight.data<std::int8_t>()[k * depth * rows * cols + i];
      // Modulo 2^32, like the sums over shifted codes; what is left in the end fits.
      const std::int64_t init = k < channels ? layer_.bias[size(k)] - in_.zero_point() * sum : 0;
      init_.push_back(static_cast<std::int32_t>(static_cast<std::uint32_t>(init)));
      const bool real = k < channels && layer_.is_requantized() && layer_.out.bit_width <= 8;
      multiplier_.push_back(real ? layer_.multiplier_of(k) : 0);
      shift_.push_back(real ? layer_.shift_of(k) : 0);
    }
  }
  first_term_.push_back(offset_.size());
}

void ConvStep::set_scales(const CodeFormat& input) {
  const auto largest = static_cast<double>(bounds_of(layer_, input).largest);
  for (std::size_t k = 0; k < multiplier_.size(); ++k) {
    scale_.push_back(std::ldexp(multiplier_[k], -shift_[k]));
    if (largest * multiplier_[k] >= 0x1p53 || largest * scale_.back() >= 0x1p31 - 512) return scale_.clear();
  }
}

std::int64_t ConvStep::largest_stored() const { return std::max(std::abs(in_.lo()), std::abs(in_.hi())); }

std::int64_t ConvStep::expanded_words() const {
  return taps_ == 0
             ? 0
             : input_.layout.planes * taps_ * input_.layout.rows() * out_width_ + PlaneLayout::kReadable;
}

std::size_t ConvStep::scratch_bytes() const {
  return size(divide_up(expanded_words(), 16) * 64 + 4 * channel_stride_ * 4);
}

// Every row of every plane once for each word of its windows, so that neighbouring positions are neighbours
// again.
const std::uint32_t* ConvStep::expand(const void* input, std::uint32_t* words) const {
  if (taps_ == 0) return static_cast<const std::uint32_t*>(input);
  const PlaneLayout& in = input_.layout;
  const std::int64_t stride = layer_.options.stride.w, dilation = layer_.options.dilation.w;
  const std::int64_t cols = layer_.weight.size(3);
  std::uint32_t* to = words;
  for (std::int64_t p = 0; p < in.planes; ++p)
    for (std::int64_t t = 0; t < taps_; ++t)
      for (std::int64_t y = 0; y < in.rows(); ++y) {
        const std::int64_t row = p * in.plane() + y * in.pitch();
        if (!input_.bytes) {
          const auto* from = static_cast<const std::uint32_t*>(input) + row + t * dilation;
          for (std::int64_t x = 0; x < out_width_; ++x) *to++ = from[x * stride];
          continue;
        }
        const auto* from = static_cast<const std::uint8_t*>(input) + row + 4 * t * dilation;
        if (stride == 1 && dilation == 1) {
          for (std::int64_t x = 0; x < out_width_; ++x) std::memcpy(to++, from + x, 4);
          continue;
        }
        const std::int64_t bytes = std::min<std::int64_t>(4, cols - 4 * t);
        for (std::int64_t x = 0; x < out_width_; ++x) {
          std::uint32_t word = 0;
          for (std::int64_t j = 0; j < bytes; ++j)
            word |= std::uint32_t{from[x * stride + j * dilation]} << (8 * j);
          *to++ = word;
        }
      }
  return words;
}

// Calls f(acc, quad, band) with the sums of four channels: row r of the band at acc + r * pitch_.
template <class F>
void ConvStep::for_each_quad(const void* input, std::byte* scratch, F f) const {
  auto* const expanded = reinterpret_cast<std::uint32_t*>(scratch);
  auto* const acc = reinterpret_cast<std::int32_t*>(scratch + divide_up(expanded_words(), 16) * 64);
  const std::uint32_t* const words = expand(input, expanded);
  const std::int64_t quads = words_of_channels(layer_.out_channels());
  const bool one_call = layer_.options.stride.h == 1;
  for (std::int64_t y = 0; y < out_height_; y += band_rows_) {
    const std::int64_t rows = std::min(band_rows_, out_height_ - y);
    for (std::int64_t q = 0; q < quads; ++q) {
      const std::size_t first = first_term_[size(q)];
      DirectConvTile tile{.input = words + y * row_step_,
                          .offset = offset_.data() + first,
                          .weight = weight_.data() + 4 * first,
                          .terms = first_term_[size(q) + 1] - first,
                          .positions = size((rows - 1) * pitch_ + out_width_),
                          .init = init_.data() + 4 * q,
                          .acc = acc,
                          .acc_stride = size(channel_stride_),
                          .pairs_depth = pairs_depth_};
      if (one_call) {
        kernels_.run(tile);
      } else {
        tile.positions = size(out_width_);
        for (std::int64_t r = 0; r < rows; ++r) {
          kernels_.run(tile);
          tile.input += row_step_;
          tile.acc += pitch_;
        }
      }
      f(acc, q, Band{y, rows});
    }
  }
}

WordTile ConvStep::word_tile(const std::int32_t* acc, std::int64_t quad, std::int64_t rows) const {
  return {.acc = acc,
          .channel_stride = size(channel_stride_),
          .pitch = size(pitch_),
          .rows = size(rows),
          .columns = size(out_width_),
          .pool = false,
          .multiplier = multiplier_.data() + 4 * quad,
          .shift = shift_.data() + 4 * quad,
          .scale = scale_.empty() ? nullptr : scale_.data() + 4 * quad,
          .zero_point = out_.zero_point(),
          .lo = out_.lo(),
          .hi = out_.hi(),
          .out = nullptr,
          .out_pitch = 0};
}

void ConvStep::run(const void* input, std::byte* scratch, std::uint32_t* out,
                   const PlaneLayout& layout) const {
  for_each_quad(input, scratch, [&](const std::int32_t* acc, std::int64_t quad, Band band) {
    WordTile tile = word_tile(acc, quad, band.rows);
    tile.pool = pool2_;
    if (pool2_) {
      tile.rows /= 2;
      tile.columns /= 2;
    }
    tile.out = out + layout.at(quad, pool2_ ? band.y / 2 : band.y, 0);
    tile.out_pitch = size(layout.pitch());
    requantize_.run(tile);
  });
}

void ConvStep::run_unfused(const void* input, std::byte* scratch, std::int32_t* sums,
                           std::int32_t* codes) const {
  std::vector<std::uint32_t> words(codes == nullptr ? 0 : size(band_rows_ * out_width_));
  for_each_quad(input, scratch, [&](const std::int32_t* acc, std::int64_t quad, Band band) {
    const std::int64_t channels = std::min<std::int64_t>(4, layer_.out_channels() - 4 * quad);
    const auto at = [&](std::int64_t k) { return ((4 * quad + k) * out_height_ + band.y) * out_width_; };
    for (std::int64_t k = 0; sums != nullptr && k < channels; ++k)
      for (std::int64_t r = 0; r < band.rows; ++r)
        std::copy_n(acc + k * channel_stride_ + r * pitch_, out_width_, sums + at(k) + r * out_width_);
    if (codes == nullptr) return;
    WordTile tile = word_tile(acc, quad, band.rows);
    tile.out = words.data();
    tile.out_pitch = size(out_width_);
    requantize_.run(tile);
    for (std::int64_t k = 0; k < channels; ++k)
      for (std::int64_t i = 0; i < band.rows * out_width_; ++i)
        codes[at(k) + i] =
            out_.code(static_cast<std::uint8_t>(words[size(i)] >> (8 * k)), kernels_.signed_activations);
  });
}

}  // namespace nibble::quant
