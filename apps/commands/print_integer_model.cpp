#include "apps/commands/print_integer_model.h"

#include <fmt/format.h>
#include <fmt/ostream.h>

#include <algorithm>
#include <sstream>

#include "quant/integer/bounds.h"

namespace nibble {
namespace {

std::string text_of(const Shape& shape) {
  std::ostringstream text;
  text << shape;
  return text.str();
}

std::string text_of(const quant::CodeFormat& f) {
  if (f.bit_width == 32) return "int32";
  return fmt::format("{}{}", f.is_signed ? 's' : 'u', f.bit_width);
}

}  // namespace

void print_integer_model(const quant::IntModel& model) {
  Shape shape = model.input.image;
  quant::CodeFormat format = model.input.format;
  fmt::print("{:12} {:>7} {:>6}  {:14} {}\n", "layer", "weights", "codes", "output", "sums at worst");
  fmt::print("{:12} {:>7} {:>6}  {:14}\n", "input", "", text_of(format), text_of(shape));
  for (const quant::IntLayer& layer : model.layers) {
    shape = quant::output_shape(layer, shape);
    std::string weights, proof;
    if (const auto* product = std::get_if<quant::IntProduct>(&layer)) {
      const quant::ProductBounds bounds = quant::bounds_of(*product, format);
      weights = std::to_string(product->weight_bits);
      proof = fmt::format("{} to {}: {} bits of 32", *std::min_element(bounds.lo.begin(), bounds.lo.end()),
                          *std::max_element(bounds.hi.begin(), bounds.hi.end()), bounds.bits());
    }
    format = quant::output_format(layer, format);
    fmt::print("{:12} {:>7} {:>6}  {:14} {}\n", quant::name_of(layer), weights, text_of(format),
               text_of(shape), proof);
  }
}

}  // namespace nibble
