#include "quant/integer/export_c.h"

#include <algorithm>
#include <cctype>
#include <sstream>

#include "quant/integer/container.h"
#include "quant/integer/export_c_arena.h"
#include "quant/integer/export_c_text.h"
#include "tensor/check.h"

namespace nibble::quant {
namespace {

// In a comment, whatever a layer is called.
std::string printable(std::string name) {
  for (char& c : name)
    if (std::isalnum(static_cast<unsigned char>(c)) == 0 && c != '.' && c != '-') c = '_';
  return name;
}

std::string with_crosses(const Shape& shape) {
  std::ostringstream out;
  for (int i = 0; i < shape.rank(); ++i) out << (i == 0 ? "" : " x ") << shape[i];
  return out.str();
}

// The program's indices have 32 bits, and some are larger than a size: 8 times for the bits of the weights,
// up to 6 times for windows that reach over an edge.
std::int64_t index_size(const std::string& layer, const char* what, std::int64_t value) {
  NIBBLE_CHECK(value < std::int64_t{1} << 28, "export_c: ", layer, ": ", what, " is ", value,
               ", expected less than 2^28");
  return value;
}

std::string window(const std::string& layer, const Shape& in, const Shape& out, Size2 kernel, Size2 stride,
                   Size2 padding, Size2 dilation) {
  std::ostringstream text;
  const char* separator = "{";
  const auto pair = [&](const char* what, const char* h, const char* w, Size2 s) {
    text << separator << '.' << what << h << " = " << index_size(layer, what, s.h) << ", ." << what << w
         << " = " << index_size(layer, what, s.w);
    separator = ", ";
  };
  pair("", "h", "w", {in[1], in[2]});
  pair("out", "_h", "_w", {out[1], out[2]});
  pair("kernel", "_h", "_w", kernel);
  separator = ",\n             ";
  pair("stride", "_h", "_w", stride);
  pair("padding", "_h", "_w", padding);
  pair("dilation", "_h", "_w", dilation);
  text << '}';
  return text.str();
}

class CWriter {
 public:
  CWriter(const IntModel& model, const std::string& name, const std::string& certificate)
      : model_(model), name_(name), certificate_(certificate) {
    shapes_.push_back(model.input.image);
    formats_.push_back(model.input.format);
    for (const IntLayer& layer : model.layers) {
      shapes_.push_back(output_shape(layer, shapes_.back()));
      formats_.push_back(output_format(layer, formats_.back()));
      if (const auto* product = std::get_if<IntProduct>(&layer)) {
        (product->is_linear() ? has_linear_ : has_conv2d_) = true;
        if (!product->is_linear()) row_ = std::max(row_, shapes_.back()[2]);
      }
      has_pool_ |= std::holds_alternative<IntMaxPool>(layer);
    }
    plan_ = plan_arena(model, shapes_);
    index_size("arena", "its number of bytes", plan_.bytes);
    index_size("logits", "their number", logits());
  }

  std::string header() const;
  std::string source(const Tensor& self_test_pixels) const;

 private:
  void functions(std::ostream& out) const;
  void layer(std::ostream& out, std::size_t i, const IntProduct& l) const;
  void layer(std::ostream& out, std::size_t i, const IntMaxPool& l) const;
  void layer(std::ostream&, std::size_t, const IntFlatten&) const {}
  void product(std::ostream& out, std::size_t i, const IntProduct& l, const std::string& indent) const;
  void infer(std::ostream& out) const;

  bool is_last(std::size_t i) const { return i == model_.layers.size(); }
  std::int64_t pixels() const { return shapes_.front().numel(); }
  std::int64_t logits() const { return shapes_.back().numel(); }
  std::string arena(std::size_t i) const { return "codes + " + std::to_string(plan_.offset[i]); }

  const IntModel& model_;
  const std::string name_, certificate_;
  std::vector<Shape> shapes_;        // of "input" and behind each layer
  std::vector<CodeFormat> formats_;  // likewise
  ArenaPlan plan_;
  bool has_conv2d_ = false, has_linear_ = false, has_pool_ = false;
  std::int64_t row_ = 0;  // the longest of a convolution's output
};

std::string CWriter::header() const {
  std::ostringstream out;
  out << "/* An integer network, exported by nibble: " << with_crosses(shapes_.front()) << " pixels, "
      << logits() << " logits. */\n"
      << R"(#ifndef $NAME_H
#define $NAME_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

)"
      << "#define $NAME_PIXELS " << pixels() << "\n#define $NAME_LOGITS " << logits()
      << "\n#define $NAME_ARENA_BYTES " << plan_.bytes << "\n#define $NAME_CERTIFICATE \"" << certificate_
      << "\"\n"
      << R"(
/* Returns the index of the largest logit, the first of equal ones. The arena has $NAME_ARENA_BYTES bytes, at any
   address, and keeps nothing between calls. The stack takes some 200 bytes)"
      << (has_conv2d_ ? " and " + std::to_string(4 * row_) + " for a row of sums" : "") << R"(. */
int $name_infer(const uint8_t pixels[$NAME_PIXELS], int32_t logits[$NAME_LOGITS], void *arena);

#ifndef $NAME_NO_SELF_TEST
/* 0, or the number, from 1, of the first test image whose results are wrong, or -1 if the constants are not those
   that were exported. Has an arena of its own. */
int $name_self_test(void);
#endif

#ifdef $NAME_TRACE
/* Yours: gets every integer. Layer 0 is the input, which has codes only, as have pooling and flattening. */
void $name_trace(int layer, int is_accumulator, int32_t value);
#endif

#ifdef __cplusplus
}
#endif

#endif
)";
  return c_text::fill_in(out.str(), name_);
}

std::string CWriter::source(const Tensor& self_test_pixels) const {
  std::ostringstream out;
  out << "/* Exported by nibble" << (certificate_.empty() ? "" : ", certificate " + certificate_)
      << R"(; $name.h says how to use it.
   A code is kept as a byte, code - lo, where lo is the least code of its layer: no byte is negative, whatever the
   codes are. */
)"
      << "#include \"$name.h\"\n";
  functions(out);
  for (std::size_t i = 1; i < shapes_.size(); ++i) {
    const IntLayer& l = model_.layers[i - 1];
    out << "\n/* " << i << ", " << printable(name_of(l)) << ": " << with_crosses(shapes_[i - 1]) << " -> "
        << with_crosses(shapes_[i]) << " */\n";
    std::visit([&](const auto& concrete) { layer(out, i, concrete); }, l);
  }
  infer(out);
  out << c_text::self_test(model_, self_test_pixels);
  return c_text::fill_in(out.str(), name_);
}

void CWriter::functions(std::ostream& out) const {
  out << c_text::kTrace;
  if (has_conv2d_ || has_pool_) out << c_text::kWindow;
  out << c_text::kProduct;
  if (has_conv2d_) {
    out << "\nenum { longest_row = " << row_ << " };\n" << c_text::kConv2d;
  }
  if (has_linear_) out << c_text::kLinear;
  if (has_pool_) out << c_text::kMaxPool;
}

void CWriter::product(std::ostream& out, std::size_t i, const IntProduct& l,
                      const std::string& indent) const {
  const std::string layer = "layer" + std::to_string(i);
  const CodeFormat& in = formats_[i - 1];
  // Logits are no bytes, nor need those that are not requantized any range.
  const std::int32_t origin = is_last(i) ? 0 : l.out.lo;
  const bool per_channel = l.multiplier.size() > 1 || l.shift.size() > 1;
  out << ".weight = " << layer << "_weight, .bias = " << layer << "_bias,\n" << indent;
  if (l.is_requantized())
    out << ".multiplier = " << layer << "_multiplier, .shift = " << layer << "_shift,\n" << indent;
  out << ".channels = " << l.out_channels() << ", .depth = " << l.weight.size(1)
      << ", .zero = " << in.zero_point - in.lo << ",\n"
      << indent;
  if (l.is_requantized())
    out << ".zero_point = " << l.out.zero_point - origin << ", .lo = " << l.out.lo - origin
        << ", .hi = " << l.out.hi - origin << ",\n"
        << indent;
  out << ".origin = " << origin << ", .layer = " << i << ", .bits = " << container_bits(l.weight_bits)
      << ", .per_channel = " << per_channel << ", .is_last = " << is_last(i);
}

void CWriter::layer(std::ostream& out, std::size_t i, const IntProduct& l) const {
  const std::string name = "layer" + std::to_string(i);
  index_size(l.name, "its number of weights", l.weight.numel());
  c_text::write_array(out, "uint8_t " + name + "_weight",
                      pack_codes(l.weight.contiguous().values<std::int8_t>(), container_bits(l.weight_bits)));
  c_text::write_array(out, "int32_t " + name + "_bias", l.bias);
  if (l.is_requantized()) {
    std::vector<std::int32_t> multiplier = l.multiplier, shift = l.shift;
    const std::size_t count = std::max(multiplier.size(), shift.size());
    multiplier.resize(count, multiplier[0]);
    shift.resize(count, shift[0]);
    c_text::write_array(out, "int32_t " + name + "_multiplier", multiplier);
    c_text::write_array(out, "uint8_t " + name + "_shift", shift);
  }
  if (l.is_linear()) {
    out << "static const struct product " << name << " = {\n  ";
    product(out, i, l, "  ");
    out << "\n};\n";
    return;
  }
  out << "static const struct conv2d " << name << " = {\n  .product = {";
  product(out, i, l, "              ");
  out << "},\n  .window = "
      << window(l.name, shapes_[i - 1], shapes_[i], {l.weight.size(2), l.weight.size(3)}, l.options.stride,
                l.options.padding, l.options.dilation)
      << ",\n  .per_group = " << l.out_channels() / l.options.groups << "\n};\n";
}

void CWriter::layer(std::ostream& out, std::size_t i, const IntMaxPool& l) const {
  const Size2 stride = l.options.stride == Size2(0) ? l.kernel : l.options.stride;
  out << "static const struct max_pool2d layer" << i << " = {\n  .window = "
      << window(l.name, shapes_[i - 1], shapes_[i], l.kernel, stride, l.options.padding, l.options.dilation)
      << ",\n  .channels = " << shapes_[i][0] << ", .origin = " << formats_[i].lo << ", .layer = " << i
      << "\n};\n";
}

void CWriter::infer(std::ostream& out) const {
  std::vector<int> bytes;
  for (const std::int16_t code : model_.input.codes) bytes.push_back(code - model_.input.format.lo);
  out << "\n/* The byte of each pixel. */\n";
  c_text::write_array(out, "uint8_t input", bytes);
  const auto trace_codes = [&](std::size_t i) {
    out << "  TRACE_CODES(" << i << ", " << arena(i) << ", " << shapes_[i].numel() << ", " << formats_[i].lo
        << ");\n";
  };
  out << R"(
int $name_infer(const uint8_t pixels[$NAME_PIXELS], int32_t logits[$NAME_LOGITS], void *arena) {
  uint8_t *const codes = arena;
  int best = 0;
  for (int32_t i = 0; i < $NAME_PIXELS; ++i) codes[i] = input[pixels[i]];
)";
  trace_codes(0);
  for (std::size_t i = 1; i < shapes_.size(); ++i) {
    const IntLayer& layer = model_.layers[i - 1];
    if (std::holds_alternative<IntFlatten>(layer)) {
      trace_codes(i);
    } else if (std::holds_alternative<IntMaxPool>(layer)) {
      out << "  max_pool2d(&layer" << i << ", " << arena(i - 1) << ", " << arena(i) << ");\n";
    } else {
      out << (std::get<IntProduct>(layer).is_linear() ? "  linear" : "  conv2d") << "(&layer" << i << ", "
          << arena(i - 1) << ", " << (is_last(i) ? "logits" : arena(i)) << ");\n";
    }
  }
  out << R"(  for (int i = 1; i < $NAME_LOGITS; ++i)
    if (logits[i] > logits[best]) best = i;
  return best;
}
)";
}

}  // namespace

CSources export_c(const IntModel& model, const std::string& name, const Tensor& self_test_pixels,
                  const std::string& certificate) {
  check(model);
  NIBBLE_CHECK(certificate.find_first_not_of("0123456789abcdefABCDEF") == std::string::npos,
               "export_c: certificate \"", certificate, "\", expected hexadecimal digits");
  NIBBLE_CHECK(self_test_pixels.defined() && self_test_pixels.dtype() == DType::uint8 &&
                   self_test_pixels.rank() == 4 && self_test_pixels.size(0) > 0 &&
                   self_test_pixels.shape().erased(0) == model.input.image,
               "export_c: expected uint8 images of shape ", model.input.image, " for the self test");
  index_size("self test", "its number of pixels", self_test_pixels.numel());
  const CWriter writer(model, name, certificate);
  return {writer.header(), writer.source(self_test_pixels)};
}

}  // namespace nibble::quant
