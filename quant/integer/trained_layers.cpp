#include "quant/integer/trained_layers.h"

#include <cmath>
#include <typeinfo>

#include "autograd/no_grad.h"
#include "nn/activation.h"
#include "nn/dropout.h"
#include "nn/pool.h"
#include "quant/bias_quant.h"
#include "quant/quant_conv2d.h"
#include "quant/quant_linear.h"
#include "quant/quant_tensor.h"
#include "tensor/factory.h"

namespace nibble::quant {
namespace {

template <class... Kinds>
bool is_any(const nn::Module* module) {
  return ((dynamic_cast<const Kinds*>(module) != nullptr) || ...);
}

void append_layers(nn::Sequential& network, const std::string& prefix, std::vector<NamedModule>& layers) {
  for (const auto& [name, module] : network.named_children()) {
    if (auto* nested = dynamic_cast<nn::Sequential*>(module.get()))
      append_layers(*nested, prefix + name + ".", layers);
    else if (!is_any<nn::Dropout>(module.get()))
      layers.push_back({prefix + name, module.get()});
  }
}

// A whole number of units: what a float becomes where nothing says at which width.
std::int32_t rounded(const std::string& name, const char* what, double value) {
  const double whole = std::nearbyint(value);
  NIBBLE_CHECK(std::abs(whole) <= 0x1p30, name, ": ", what, " is ", value,
               " units of the accumulator, expected at most 2^30");
  return static_cast<std::int32_t>(whole);
}

std::vector<double> doubles(const Tensor& t) {
  const Tensor flat = t.to(DType::float64).contiguous();
  const auto values = flat.values<double>();
  return {values.begin(), values.end()};
}

void set_weight(IntProduct& product, QuantLayer& layer) {
  const auto& quantizer = layer.quantizers().weight;
  NIBBLE_CHECK(
      quantizer, product.name,
      ": its weights are not quantized; give it a weight quantizer, such as Int8WeightPerTensorFloat");
  NIBBLE_CHECK(quantizer->bit_width <= 8, product.name, ": weights of ", quantizer->bit_width,
               " bits, integer products take 1 to 8");
  const QuantTensor weight(layer.quantized_weight());
  product.weight = weight.codes().to(DType::int8).contiguous();
  product.weight_bits = quantizer->bit_width;
  product.weight_scale = doubles(weight.scale().value());
}

void set_bias(IntProduct& product, QuantLayer& layer, const Variable& bias, const CodeFormat& input) {
  const auto& quantizer = layer.quantizers().bias;
  product.bias.assign(static_cast<std::size_t>(product.out_channels()), 0);
  product.bias_bits = quantizer ? quantizer->bit_width : 32;
  if (!bias.defined()) return;
  if (quantizer) {
    const Variable input_scale(scalar(input.scale));
    const Tensor codes = QuantTensor(quantize_bias(bias, input_scale,
                                                   QuantTensor(layer.quantized_weight()).scale(), *quantizer))
                             .codes()
                             .contiguous();
    const auto values = codes.values<std::int32_t>();
    product.bias.assign(values.begin(), values.end());
    return;
  }
  const std::vector<double> values = doubles(bias.value());
  for (std::size_t k = 0; k < values.size(); ++k)
    product.bias[k] =
        rounded(product.name, "bias",
                values[k] / (input.scale * product.weight_scale_of(static_cast<std::int64_t>(k))));
}

}  // namespace

std::vector<NamedModule> layers_of(nn::Sequential& network) {
  std::vector<NamedModule> layers;
  append_layers(network, "", layers);
  if (!layers.empty() && is_any<nn::Softmax, nn::LogSoftmax>(layers.back().module)) layers.pop_back();
  return layers;
}

CodeFormat format_of(const std::string& name, QuantActivation& activation) {
  NIBBLE_CHECK(activation.collected_steps() > 0, name,
               ": has no scale yet; train the network or calibrate it (calibration_mode) first");
  const ActQuantizer& quantizer = activation.quantizer();
  NIBBLE_CHECK(quantizer.bit_width <= 8, name, ": activations of ", quantizer.bit_width,
               " bits, integer products take 1 to 8");
  const NoGrad no_grad;
  const QuantTensor zero(activation.forward(Variable(zeros({1}))));
  const IntegerRange range = activation.range();
  CodeFormat format{.bit_width = quantizer.bit_width,
                    .is_signed = quantizer.is_signed,
                    .zero_point = static_cast<std::int32_t>(zero.zero_point()),
                    .lo = static_cast<std::int32_t>(range.lo),
                    .hi = static_cast<std::int32_t>(range.hi),
                    .scale = static_cast<float>(zero.scale().value().item())};
  if (is_any<QuantReLU>(&activation)) format.lo = std::max(format.lo, format.zero_point);
  NIBBLE_CHECK(std::isfinite(format.scale) && format.scale > 0, name, ": its scale is ", format.scale,
               ", expected a finite number above 0");
  return format;
}

Tensor codes_of(QuantActivation& activation, const Tensor& x) {
  const NoGrad no_grad;
  return QuantTensor(activation.forward(Variable(x))).codes().contiguous();
}

IntProduct product_of(const NamedModule& layer, const CodeFormat& input) {
  const NoGrad no_grad;
  IntProduct product;
  product.name = layer.name;
  if (auto* conv = dynamic_cast<QuantConv2d*>(layer.module)) {
    set_weight(product, *conv);
    product.options = conv->Conv2d::options();
    set_bias(product, *conv, conv->bias(), input);
  } else if (auto* linear = dynamic_cast<QuantLinear*>(layer.module)) {
    set_weight(product, *linear);
    set_bias(product, *linear, linear->bias(), input);
  } else {
    NIBBLE_CHECK((!is_any<nn::Conv2d, nn::Linear>(layer.module)), layer.name,
                 ": its weights are not quantized; use ",
                 is_any<nn::Conv2d>(layer.module) ? "QuantConv2d" : "QuantLinear");
    NIBBLE_CHECK(false, layer.name, ": a layer of this kind (", typeid(*layer.module).name(),
                 ") has no integer form");
  }
  return product;
}

IntProduct average_of(const NamedModule& layer, const Shape& shape) {
  IntProduct product;
  product.name = layer.name;
  NIBBLE_CHECK(shape.rank() == 3, layer.name, ": input has shape ", shape, ", expected [C, H, W]");
  Size2 kernel;
  if (const auto* pool = dynamic_cast<const nn::AvgPool2d*>(layer.module)) {
    const PoolOptions& options = pool->options();
    NIBBLE_CHECK(
        !options.ceil_mode && (options.count_include_pad || options.padding == Size2(0)), layer.name,
        ": windows of different sizes have no common scale; leave out ceil_mode and count the padding");
    kernel = pool->kernel();
    product.options = {.stride = options.stride == Size2(0) ? kernel : options.stride,
                       .padding = options.padding};
  } else {
    const Size2 output = dynamic_cast<const nn::AdaptiveAvgPool2d&>(*layer.module).output();
    NIBBLE_CHECK(output.h > 0 && output.w > 0 && shape[1] % output.h == 0 && shape[2] % output.w == 0,
                 layer.name, ": windows of different sizes have no common scale; output ", output,
                 " does not divide ", shape);
    kernel = {shape[1] / output.h, shape[2] / output.w};
    product.options.stride = kernel;
  }
  product.options.groups = shape[0];
  product.weight = full({shape[0], 1, kernel.h, kernel.w}, 1, DType::int8);
  product.weight_bits = 1;
  product.weight_scale = {1 / static_cast<double>(kernel.h * kernel.w)};
  product.bias.assign(static_cast<std::size_t>(shape[0]), 0);
  return product;
}

void fold(IntProduct& product, const std::string& name, const nn::BatchNorm2d& norm,
          const CodeFormat& input) {
  const std::vector<double> gamma = doubles(norm.weight().value()), beta = doubles(norm.bias().value()),
                            mean = doubles(norm.running_mean()), variance = doubles(norm.running_var());
  const std::int64_t channels = product.out_channels();
  NIBBLE_CHECK(static_cast<std::int64_t>(gamma.size()) == channels, name, ": has ", gamma.size(),
               " channels, its input ", channels);
  std::vector<double> scale;
  const std::int64_t per_channel = product.weight.numel() / channels;
  product.weight = product.weight.clone();
  std::int8_t* weight = product.weight.mutable_data<std::int8_t>();
  for (std::int64_t k = 0; k < channels; ++k, weight += per_channel) {
    const auto i = static_cast<std::size_t>(k);
    const double slope = gamma[i] / std::sqrt(variance[i] + norm.options().eps);
    NIBBLE_CHECK(std::isfinite(slope) && slope != 0, name, ": channel ", k, " is multiplied by ", slope,
                 ", expected a finite number other than 0: a constant channel has no integer form");
    const double unit = double{input.scale} * product.weight_scale_of(k);
    const double shifted = product.bias[i] + rounded(name, "shift", (beta[i] / slope - mean[i]) / unit);
    product.bias[i] = rounded(name, "bias", slope < 0 ? -shifted : shifted);
    if (slope < 0)
      for (std::int64_t j = 0; j < per_channel; ++j) weight[j] = static_cast<std::int8_t>(-weight[j]);
    scale.push_back(product.weight_scale_of(k) * std::abs(slope));
  }
  product.weight_scale = scale;
  product.bias_bits = 32;
}

}  // namespace nibble::quant
