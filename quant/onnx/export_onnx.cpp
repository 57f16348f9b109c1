#include "quant/onnx/export_onnx.h"

#include <algorithm>
#include <cmath>

#include "quant/onnx/operators.h"
#include "tensor/factory.h"

namespace nibble::quant {
namespace {

using Value = GraphBuilder::Value;

// What both QuantizeLinear and DequantizeLinear need, beside the values.
struct Scaling {
  Value scale, zero_point;
};

DType container_of(const CodeFormat& format) { return format.is_signed ? DType::int8 : DType::uint8; }

// Whether the table is what QuantizeLinear makes of pixel / pixel_divisor: in float32, the zero point added
// after rounding.
bool is_quantize_linear(const IntInput& input) {
  const CodeFormat& f = input.format;
  const auto divisor = static_cast<float>(input.pixel_divisor), scale = static_cast<float>(f.scale);
  for (std::size_t pixel = 0; pixel < input.codes.size(); ++pixel) {
    const double steps = std::nearbyint(static_cast<float>(pixel) / divisor / scale);
    if (std::clamp<double>(steps + f.zero_point, f.lo, f.hi) != input.codes[pixel]) return false;
  }
  return true;
}

// One layer after the other; value_ is the float32 form of the codes so far.
class IntegerExport {
 public:
  IntegerExport(const IntInput& input, const std::string& name)
      : graph_(name, input.image), shape_(input.image), format_(input.format) {
    if (is_quantize_linear(input)) {
      value_ = quantized("input", append_division(graph_, input.pixel_divisor), format_);
    } else {
      const Scaling scaling = scaling_of("input", format_);
      value_ = dequantized("input", looked_up(input), scaling);
    }
  }

  void add(const IntLayer& layer) {
    value_ = std::visit([this](const auto& l) { return output_of(l); }, layer);
    shape_ = output_shape(layer, shape_);
    format_ = output_format(layer, format_);
  }

  std::string finish() {
    if (shape_.rank() > 1) append_flatten(graph_, "logits.flatten", value_);
    return graph_.finish("logits", {shape_.numel()});
  }

 private:
  Value output_of(const IntProduct& l) {
    const std::vector<Value> inputs{value_, weight_of(l), bias_of(l)};
    const Value sums =
        l.is_linear() ? append_linear(graph_, l.name, inputs)
                      : append_conv(graph_, l.name, inputs, {l.weight.size(2), l.weight.size(3)}, l.options);
    // 32-bit logits are the sums, or the sums in one unit for all channels, which those in float have
    // already.
    return l.out.bit_width == 32 ? sums : quantized(l.name, sums, l.out);
  }

  Value output_of(const IntMaxPool& l) {
    // Only there can a window lie in the padding alone: lo for us, minus infinity for ONNX.
    NIBBLE_CHECK(l.options.dilation == Size2(1) || l.options.padding == Size2(0), l.name,
                 ": max pooling with dilation ", l.options.dilation, " and padding ", l.options.padding,
                 " has no ONNX form; expected dilation 1 or padding 0");
    return append_max_pool(graph_, l.name, value_, shape_.inserted(0, 1), l.kernel, l.options);
  }

  Value output_of(const IntFlatten& l) { return append_flatten(graph_, l.name, value_); }

  // QuantizeLinear saturates at the ends of the container. They are where unsigned 8-bit codes behind a ReLU
  // end, so those need no Clip.
  Value quantized(const std::string& name, const Value& x, const CodeFormat& f) {
    const Scaling scaling = scaling_of(name, f);
    const Value codes =
        graph_.node("QuantizeLinear", name + ".quantize", {x, scaling.scale, scaling.zero_point});
    return dequantized(name, clipped(name, codes, container_of(f), f.lo, f.hi), scaling);
  }

  Value dequantized(const std::string& name, const Value& codes, const Scaling& scaling) {
    return graph_.node("DequantizeLinear", name + ".dequantize", {codes, scaling.scale, scaling.zero_point});
  }

  Value clipped(const std::string& name, const Value& codes, DType container, int lo, int hi) {
    const int least = container == DType::int8 ? -128 : 0;
    if (lo == least && hi == least + 255) return codes;
    return graph_.node("Clip", name + ".clip",
                       {codes, graph_.constant(name + ".lo", scalar(lo, container)),
                        graph_.constant(name + ".hi", scalar(hi, container))});
  }

  Scaling scaling_of(const std::string& name, const CodeFormat& f) {
    return {graph_.constant(name + ".scale", scalar(positive_float(name + ".scale", f.scale))),
            graph_.constant(name + ".zero_point", scalar(f.zero_point, container_of(f)))};
  }

  // Quantizers with a zero point add it before they round; and a table may hold anything.
  Value looked_up(const IntInput& input) {
    const Value pixel =
        graph_.node("Cast", "input.index", {GraphBuilder::pixels()}, {{"to", onnx::TensorProto::INT32}});
    const Tensor table =
        from_values({256}, std::vector<std::int16_t>(input.codes.begin(), input.codes.end()));
    return graph_.node("Gather", "input.codes",
                       {graph_.constant("input.table", table.to(container_of(format_))), pixel});
  }

  Value weight_of(const IntProduct& l) {
    const std::string name = l.name + ".weight";
    const int most = l.weight_bits == 1 ? 1 : (1 << (l.weight_bits - 1)) - 1;
    Value codes = graph_.constant(name, l.weight);
    // It changes nothing, but says how wide they are. For 8 bits the container does.
    if (l.weight_bits < 8) codes = clipped(name, codes, DType::int8, -most, most);
    return dequantized_parameter(name, codes, DType::int8, l, 1);
  }

  Value bias_of(const IntProduct& l) {
    const std::string name = l.name + ".bias";
    const Value codes = graph_.constant(name, from_values({l.out_channels()}, l.bias));
    return dequantized_parameter(name, codes, DType::int32, l, format_.scale);
  }

  // Weights and biases have no zero point, and a scale of factor * weight_scale for all or each output
  // channel.
  Value dequantized_parameter(const std::string& name, const Value& codes, DType type, const IntProduct& l,
                              double factor) {
    std::vector<float> scales;
    for (const double scale : l.weight_scale)
      scales.push_back(positive_float(name + ".scale", factor * scale));
    const Shape shape = scales.size() == 1 ? Shape{} : Shape{l.out_channels()};
    std::vector<Value> inputs{codes, graph_.constant(name + ".scale", from_values(shape, scales))};
    // ONNX takes a missing zero point for 0. ONNX Runtime puts a single one in the place of one that int8
    // misses, which does not fit a scale per channel.
    if (type == DType::int8) inputs.push_back(graph_.constant(name + ".zero_point", zeros(shape, type)));
    return graph_.node("DequantizeLinear", name + ".dequantize", inputs, {{"axis", 0}});
  }

  GraphBuilder graph_;
  Value value_;
  Shape shape_;
  CodeFormat format_;
};

}  // namespace

std::string export_onnx(const IntModel& model, const std::string& name) {
  check(model);
  IntegerExport exporting(model.input, name);
  for (const IntLayer& layer : model.layers) exporting.add(layer);
  return exporting.finish();
}

}  // namespace nibble::quant
