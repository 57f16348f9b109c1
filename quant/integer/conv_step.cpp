#include "quant/integer/conv_step.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "quant/integer/bounds.h"
#include "tensor/divide_up.h"

namespace nibble::quant {
namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

bool builds_windows_of_bytes(const IntProduct& layer, std::int64_t channels, bool of_pixels) {
  return of_pixels && DirectConvWeights::prefers_bytes(channels, layer.options.groups);
}

}  // namespace

StoredCodes::StoredCodes(const CodeFormat& format, bool signed_bytes) : format(format), offset(0) {
  if (format.bit_width > 8) return;
  if (signed_bytes && !format.is_signed && format.hi > 127) offset = -128;
  if (!signed_bytes && format.is_signed) offset = 1 << (format.bit_width - 1);
}

ConvStep::Input ConvStep::input_of(const IntProduct& layer, const Shape& image, bool of_pixels) {
  const bool bytes = builds_windows_of_bytes(layer, image[0], of_pixels);
  return {bytes, DirectConv::input_of(image, layer.options, bytes)};
}

ConvStep::ConvStep(Isa isa, const IntProduct& layer, const Shape& image, const CodeFormat& input,
                   bool of_pixels, bool pool2)
    : requantize_(requantize_words_kernels(isa)),
      layer_(layer),
      signed_bytes_(direct_conv_kernels(isa).signed_activations),
      in_(input, signed_bytes_),
      out_(layer.out, signed_bytes_),
      pool2_(pool2),
      weights_(layer.weight, layer.options, builds_windows_of_bytes(layer, image[0], of_pixels)),
      conv_(isa, weights_, image, pool2 ? 2 : 1),
      pairs_depth_(weights_.pairs_depth(std::max(std::abs(in_.lo()), std::abs(in_.hi())))) {
  layer_.weight = layer_.weight.contiguous();
  set_init();
  set_scales(input);
}

void ConvStep::set_init() {
  const std::int64_t channels = layer_.out_channels(), window = layer_.weight.numel() / channels;
  const auto* const weight = layer_.weight.data<std::int8_t>();
  for (std::int64_t k = 0; k < 4 * weights_.quads(); ++k) {
    std::int64_t sum = 0;
    for (std::int64_t i = 0; k < channels && i < window; ++i) sum += weight[k * window + i];
    // Modulo 2^32, like the sums over shifted codes; what is left in the end fits.
    const std::int64_t init = k < channels ? layer_.bias[size(k)] - in_.zero_point() * sum : 0;
    init_.push_back(static_cast<std::int32_t>(static_cast<std::uint32_t>(init)));
    const bool real = k < channels && layer_.is_requantized() && layer_.out.bit_width <= 8;
    multiplier_.push_back(real ? layer_.multiplier_of(k) : 0);
    shift_.push_back(real ? layer_.shift_of(k) : 0);
  }
}

void ConvStep::set_scales(const CodeFormat& input) {
  const auto largest = static_cast<double>(bounds_of(layer_, input).largest);
  for (std::size_t k = 0; k < multiplier_.size(); ++k) {
    scale_.push_back(std::ldexp(multiplier_[k], -shift_[k]));
    if (largest * multiplier_[k] >= 0x1p53 || largest * scale_.back() >= 0x1p31 - 512) return scale_.clear();
  }
}

std::size_t ConvStep::input_bytes() const { return size(divide_up(conv_.scratch_words(), 16) * 64); }

std::size_t ConvStep::scratch_bytes() const { return input_bytes() + size(4 * conv_.channel_stride() * 4); }

// Calls f(acc, quad, y, rows) with the sums of four channels and so many rows.
template <class F>
void ConvStep::for_each_quad(const void* input, std::byte* scratch, F f) const {
  auto* const acc = reinterpret_cast<std::int32_t*>(scratch + input_bytes());
  const std::uint32_t* const words = conv_.words_of(input, reinterpret_cast<std::uint32_t*>(scratch));
  for (std::int64_t y = 0; y < conv_.out_height(); y += conv_.band_rows()) {
    const std::int64_t rows = std::min(conv_.band_rows(), conv_.out_height() - y);
    for (std::int64_t q = 0; q < weights_.quads(); ++q) {
      conv_.sums(weights_, q, words, y, rows, init_.data() + 4 * q, pairs_depth_, acc);
      f(acc, q, y, rows);
    }
  }
}

WordTile ConvStep::word_tile(const std::int32_t* acc, std::int64_t quad, std::int64_t rows) const {
  return {.acc = acc,
          .channel_stride = size(conv_.channel_stride()),
          .pitch = size(conv_.pitch()),
          .rows = size(rows),
          .columns = size(conv_.out_width()),
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
  for_each_quad(input, scratch,
                [&](const std::int32_t* acc, std::int64_t quad, std::int64_t y, std::int64_t rows) {
                  WordTile tile = word_tile(acc, quad, rows);
                  tile.pool = pool2_;
                  if (pool2_) {
                    tile.rows /= 2;
                    tile.columns /= 2;
                  }
                  tile.out = out + layout.at(quad, pool2_ ? y / 2 : y, 0);
                  tile.out_pitch = size(layout.pitch());
                  requantize_.run(tile);
                });
}

void ConvStep::run_unfused(const void* input, std::byte* scratch, std::int32_t* sums,
                           std::int32_t* codes) const {
  std::vector<std::uint32_t> words(codes == nullptr ? 0 : size(conv_.band_rows() * conv_.out_width()));
  for_each_quad(
      input, scratch, [&](const std::int32_t* acc, std::int64_t quad, std::int64_t y, std::int64_t rows) {
        const std::int64_t channels = std::min<std::int64_t>(4, layer_.out_channels() - 4 * quad);
        const auto at = [&](std::int64_t k) {
          return ((4 * quad + k) * conv_.out_height() + y) * conv_.out_width();
        };
        for (std::int64_t k = 0; sums != nullptr && k < channels; ++k)
          for (std::int64_t r = 0; r < rows; ++r)
            std::copy_n(acc + k * conv_.channel_stride() + r * conv_.pitch(), conv_.out_width(),
                        sums + at(k) + r * conv_.out_width());
        if (codes == nullptr) return;
        WordTile tile = word_tile(acc, quad, rows);
        tile.out = words.data();
        tile.out_pitch = size(conv_.out_width());
        requantize_.run(tile);
        for (std::int64_t k = 0; k < channels; ++k)
          for (std::int64_t i = 0; i < rows * conv_.out_width(); ++i)
            codes[at(k) + i] = out_.code(static_cast<std::uint8_t>(words[size(i)] >> (8 * k)), signed_bytes_);
      });
}

}  // namespace nibble::quant
