#include "quant/integer/model.h"

#include <cmath>
#include <set>

#include "quant/integer/bounds.h"
#include "quant/qparams.h"
#include "tensor/check.h"

namespace nibble::quant {
namespace {

template <class... Functions>
struct Overloaded : Functions... {
  using Functions::operator()...;
};
template <class... Functions>
Overloaded(Functions...) -> Overloaded<Functions...>;

constexpr std::int64_t kMaxActivations = 1 << 26;  // what follows need not fear for its memory

Shape with_batch(const Shape& image) { return image.inserted(0, 1); }

void check_format(const std::string& where, const CodeFormat& f) {
  NIBBLE_CHECK(f.bit_width >= 1 && f.bit_width <= 8, where, ": codes of ", f.bit_width,
               " bits, expected 1 to 8");
  NIBBLE_CHECK(f.bit_width > 1 || !f.is_signed, where, ": signed codes of 1 bit, expected at least 2");
  const IntegerRange range = integer_range(f.bit_width, f.is_signed, false);
  NIBBLE_CHECK(f.lo >= range.lo && f.hi <= range.hi && f.lo <= f.hi, where, ": codes from ", f.lo, " to ",
               f.hi, ", expected within ", range.lo, " to ", range.hi);
  NIBBLE_CHECK(f.zero_point >= f.lo && f.zero_point <= f.hi, where, ": zero point ", f.zero_point,
               ", expected ", f.lo, " to ", f.hi);
  NIBBLE_CHECK(std::isfinite(f.scale) && f.scale > 0, where, ": scale ", f.scale,
               ", expected a finite number above 0");
}

void check_weights(const IntProduct& layer) {
  const Tensor& w = layer.weight;
  NIBBLE_CHECK(w.defined() && w.dtype() == DType::int8 && (w.rank() == 2 || w.rank() == 4) && w.numel() > 0,
               layer.name, ": expected int8 weights [K, C, R, S] or [K, C]");
  NIBBLE_CHECK(layer.weight_bits >= 1 && layer.weight_bits <= 8, layer.name, ": weights of ",
               layer.weight_bits, " bits, expected 1 to 8");
  const int most = layer.weight_bits == 1 ? 1 : (1 << (layer.weight_bits - 1)) - 1;
  const Tensor dense = w.contiguous();
  for (const std::int8_t code : dense.values<std::int8_t>())
    NIBBLE_CHECK(code >= -most && code <= most && (layer.weight_bits != 1 || code != 0), layer.name,
                 ": weight ", int{code}, " is not one of ", layer.weight_bits, " bits");
}

template <class T>
void check_count(const IntProduct& layer, const char* what, const std::vector<T>& values) {
  const auto k = static_cast<std::size_t>(layer.out_channels());
  NIBBLE_CHECK(values.size() == 1 || values.size() == k, layer.name, ": ", values.size(), " values of ", what,
               ", expected 1 or ", k);
}

void check_requantization(const IntProduct& layer) {
  check_count(layer, "multiplier", layer.multiplier);
  check_count(layer, "shift", layer.shift);
  for (const std::int32_t m : layer.multiplier)
    NIBBLE_CHECK(m >= 1 << 30, layer.name, ": multiplier ", m, ", expected 2^30 to 2^31 - 1");
  for (const std::int32_t s : layer.shift)
    NIBBLE_CHECK(s >= 0 && s <= 62, layer.name, ": shift ", s, ", expected 0 to 62");
}

// What is read of one image: with its padding, and once for each element of a pooling window.
void check_work(const IntLayer& layer, const Shape& input) {
  constexpr double kMaxReads = 1e10;
  const auto* product = std::get_if<IntProduct>(&layer);
  if (product != nullptr && input.rank() == 3) {
    const Size2 p = product->options.padding;
    const double padded = static_cast<double>(input[0]) * static_cast<double>(input[1] + 2 * p.h) *
                          static_cast<double>(input[2] + 2 * p.w);
    NIBBLE_CHECK(padded <= static_cast<double>(kMaxActivations), product->name, ": padding ", p,
                 " makes an image of ", padded, " integers, expected at most ", kMaxActivations);
  }
  const auto* pool = std::get_if<IntMaxPool>(&layer);
  if (pool == nullptr) return;
  const double reads = static_cast<double>(input.numel()) * static_cast<double>(pool->kernel.h) *
                       static_cast<double>(pool->kernel.w);
  NIBBLE_CHECK(reads <= kMaxReads, pool->name, ": its windows read ", reads,
               " integers an image, expected at most ", kMaxReads);
}

// Where windows move by more than a pixel, or channels are too few to fill words, the engine copies every
// window of a row (conv_step.h).
void check_windows(const IntLayer& layer, const Shape& input, const Shape& output) {
  constexpr std::int64_t kMaxCopied = 4 * kMaxActivations;
  const auto* product = std::get_if<IntProduct>(&layer);
  if (product == nullptr || product->is_linear()) return;
  const ConvOptions& o = product->options;
  if (o.stride.w == 1 && input[0] >= 3) return;
  const std::int64_t taps = product->weight.size(3);
  const double copied = static_cast<double>(input[0]) * static_cast<double>(input[1] + 2 * o.padding.h) *
                        static_cast<double>(taps) * static_cast<double>(output[2]);
  NIBBLE_CHECK(copied <= static_cast<double>(kMaxCopied), product->name, ": windows of ", taps,
               " columns, stride ", o.stride, ", make an image of ", copied, " integers, expected at most ",
               kMaxCopied);
}

void check_product(const IntProduct& layer, const CodeFormat& input, bool is_last) {
  NIBBLE_CHECK(input.bit_width <= 8, layer.name, ": its input is sums, not codes");
  check_weights(layer);
  NIBBLE_CHECK(static_cast<std::int64_t>(layer.bias.size()) == layer.out_channels(), layer.name, ": ",
               layer.bias.size(), " biases, expected ", layer.out_channels());
  const ConvOptions& o = layer.options;
  NIBBLE_CHECK(!layer.is_linear() ||
                   (o.stride == Size2(1) && o.padding == Size2(0) && o.dilation == Size2(1) && o.groups == 1),
               layer.name, ": a linear layer with stride ", o.stride, ", padding ", o.padding, ", dilation ",
               o.dilation, ", groups ", o.groups, ", expected none");
  NIBBLE_CHECK(std::isfinite(layer.out.scale) && layer.out.scale > 0, layer.name, ": scale ", layer.out.scale,
               ", expected a finite number above 0");
  NIBBLE_CHECK(layer.bias_bits >= 2 && layer.bias_bits <= 32, layer.name, ": biases of ", layer.bias_bits,
               " bits, expected 2 to 32");
  const IntegerRange biases = integer_range(layer.bias_bits, true, false);
  for (const std::int32_t b : layer.bias)
    NIBBLE_CHECK(b >= biases.lo && b <= biases.hi, layer.name, ": bias ", b, " is not one of ",
                 layer.bias_bits, " bits");
  check_count(layer, "weight_scale", layer.weight_scale);
  for (const double s : layer.weight_scale)
    NIBBLE_CHECK(std::isfinite(s) && s > 0, layer.name, ": weight_scale ", s,
                 ", expected a finite number above 0");
  if (layer.is_requantized() || !layer.shift.empty()) check_requantization(layer);
  if (layer.out.bit_width != 32) {
    NIBBLE_CHECK(layer.is_requantized(), layer.name, ": codes without a multiplier");
    check_format(layer.name, layer.out);
  } else {
    NIBBLE_CHECK(is_last, layer.name, ": its sums are not requantized, but a layer follows");
  }
  const ProductBounds bounds = bounds_of(layer, input);
  // Kernels may add a multiple of the column sum and take it away again; what they keep is modulo 2^32.
  NIBBLE_CHECK(bounds.largest < (std::int64_t{1} << 31), layer.name, ": sums need ", bounds.bits(),
               " bits at worst, an accumulator has 32");
}

}  // namespace

const std::string& name_of(const IntLayer& layer) {
  return std::visit([](const auto& l) -> const std::string& { return l.name; }, layer);
}

Shape output_shape(const IntLayer& layer, const Shape& input) {
  return std::visit(
      Overloaded{
          [&](const IntProduct& l) -> Shape {
            if (!l.is_linear()) {
              try {
                return conv2d_shape(with_batch(input), l.weight.shape(), l.options).erased(0);
              } catch (const std::invalid_argument& error) {
                throw std::invalid_argument(l.name + ": " + error.what());
              }
            }
            NIBBLE_CHECK(input.rank() == 1 && input[0] == l.weight.size(1), l.name, ": weight has ",
                         l.weight.size(1), " inputs, input has shape ", input);
            return {l.out_channels()};
          },
          [&](const IntMaxPool& l) -> Shape {
            NIBBLE_CHECK(!l.options.relu, l.name, ": relu is not an option of integer pooling");
            return pool2d_shape(l.name.c_str(), with_batch(input), l.kernel, l.options).erased(0);
          },
          [&](const IntFlatten&) -> Shape { return {input.numel()}; },
      },
      layer);
}

CodeFormat output_format(const IntLayer& layer, const CodeFormat& input) {
  const auto* product = std::get_if<IntProduct>(&layer);
  return product == nullptr ? input : product->out;
}

std::int64_t logits_of(const IntModel& model) {
  Shape shape = model.input.image;
  for (const IntLayer& layer : model.layers) shape = output_shape(layer, shape);
  return shape.numel();
}

void check(const IntModel& model) {
  const IntInput& input = model.input;
  NIBBLE_CHECK(input.image.rank() == 3 && input.image.numel() > 0 && input.image.numel() <= kMaxActivations,
               "input: an image of shape ", input.image, ", expected [C, H, W]");
  check_format("input", input.format);
  for (const std::int16_t code : input.codes)
    NIBBLE_CHECK(code >= input.format.lo && code <= input.format.hi, "input: code ", code,
                 " in its table, expected ", input.format.lo, " to ", input.format.hi);
  NIBBLE_CHECK(std::isfinite(input.pixel_divisor) && input.pixel_divisor > 0, "input: pixel_divisor ",
               input.pixel_divisor, ", expected a finite number above 0");
  NIBBLE_CHECK(!model.layers.empty() && std::holds_alternative<IntProduct>(model.layers.back()),
               "integer model: expected layers, a convolution or linear layer last");
  std::set<std::string> names{"input"};
  Shape shape = input.image;
  CodeFormat format = input.format;
  for (const IntLayer& layer : model.layers) {
    check_work(layer, shape);
    NIBBLE_CHECK(names.insert(name_of(layer)).second, "integer model: two layers are called \"",
                 name_of(layer), "\"");
    if (const auto* product = std::get_if<IntProduct>(&layer))
      check_product(*product, format, &layer == &model.layers.back());
    const Shape before = shape;
    shape = output_shape(layer, before);
    check_windows(layer, before, shape);
    format = output_format(layer, format);
    NIBBLE_CHECK(shape.numel() > 0 && shape.numel() <= kMaxActivations, name_of(layer), ": output has shape ",
                 shape, ", expected 1 to ", kMaxActivations, " integers");
  }
}

}  // namespace nibble::quant
