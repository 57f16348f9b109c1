#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <variant>
#include <vector>

#include "tensor/conv.h"
#include "tensor/pool.h"
#include "tensor/tensor.h"

// A network that is integers from the pixels to the logits, as data: what lowering.h makes of a trained one,
// what a .nbq file holds, and what reference.h, engine.h and the exports run. docs/integer-semantics.md
// specifies the arithmetic; nothing here depends on a processor.

namespace nibble::quant {

// The integers of one activation: value = (code - zero_point) * scale, lo <= code <= hi.
struct CodeFormat {
  int bit_width = 8;  // 1 to 8; 32: sums that are not requantized
  bool is_signed = false;
  std::int32_t zero_point = 0;
  std::int32_t lo = 0, hi = 255;  // what results are clamped to; a ReLU raises lo to the zero point
  float scale = 1;                // for people and for exports: no integer depends on it

  friend bool operator==(const CodeFormat&, const CodeFormat&) = default;
};

// Raw pixels, 0 to 255, become codes by a table.
struct IntInput {
  Shape image;  // [C, H, W]
  std::array<std::int16_t, 256> codes{};
  CodeFormat format;
  double pixel_divisor = 255;  // the float network saw pixel / pixel_divisor
};

// A convolution (weight of rank 4) or a linear layer (rank 2), with what followed it up to the next code:
//   acc = sum of (code - zero_point) * weight + bias
//   out = clamp(round(acc * multiplier / 2^shift) + zero_point, lo, hi), rounding half to even once
// or out = acc where `multiplier` is empty.
struct IntProduct {
  std::string name;
  Tensor weight;                   // int8 [K, C / groups, R, S] or [K, C]
  int weight_bits = 8;             // 1: weights -1 and 1; else -(2^(b-1) - 1) to 2^(b-1) - 1
  ConvOptions options;             // of a convolution; padding is code zero_point, a true zero
  std::vector<std::int32_t> bias;  // [K], in units of the accumulator
  int bias_bits = 32;
  std::vector<double> weight_scale;             // one or [K]; acc stands for acc * input scale * weight_scale
  std::vector<std::int32_t> multiplier, shift;  // one or [K] each; or none
  CodeFormat out;

  bool is_linear() const { return weight.rank() == 2; }
  std::int64_t out_channels() const { return weight.size(0); }
  bool is_requantized() const { return !multiplier.empty(); }
  std::int32_t multiplier_of(std::int64_t channel) const { return at(multiplier, channel); }
  std::int32_t shift_of(std::int64_t channel) const { return at(shift, channel); }
  double weight_scale_of(std::int64_t channel) const { return at(weight_scale, channel); }

 private:
  template <class T>
  static T at(const std::vector<T>& values, std::int64_t channel) {
    return values[values.size() == 1 ? 0 : static_cast<std::size_t>(channel)];
  }
};

// The largest code of each window; padding never wins. Sizes and options as max_pool2d.
struct IntMaxPool {
  std::string name;
  Size2 kernel;
  PoolOptions options;
};

struct IntFlatten {  // [C, H, W] -> [C*H*W]
  std::string name;
};

using IntLayer = std::variant<IntProduct, IntMaxPool, IntFlatten>;

struct IntModel {
  IntInput input;
  std::vector<IntLayer> layers;
};

const std::string& name_of(const IntLayer& layer);

// Shape of one image behind a layer, and the format of its codes. Throw std::invalid_argument, naming the
// layer, where sizes do not fit.
Shape output_shape(const IntLayer& layer, const Shape& input);
CodeFormat output_format(const IntLayer& layer, const CodeFormat& input);

// Number of outputs of the last layer, the logits.
std::int64_t logits_of(const IntModel& model);

// Throws std::invalid_argument, naming the layer, unless everything that the fields promise holds: sizes fit,
// codes and weights lie in their ranges, multipliers are those of multiplier.h, names are given once, and no
// sum can leave int32 (bounds.h).
void check(const IntModel& model);

}  // namespace nibble::quant
