#include "quant/integer/lowering.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "nn/activation.h"
#include "nn/eval_mode.h"
#include "nn/flatten.h"
#include "quant/integer/bounds.h"
#include "quant/integer/trained_layers.h"
#include "quant/multiplier.h"
#include "quant/quant_layer.h"
#include "tensor/check.h"
#include "tensor/factory.h"

namespace nibble::quant {
namespace {

// The values that the 256 pixels stand for, as ToTensor makes them.
Tensor pixel_values(double divisor) {
  Tensor values = empty({256});
  for (int p = 0; float& value : values.mutable_values<float>())
    value = static_cast<float>(p++) / static_cast<float>(divisor);
  return values;
}

void append_multiplier(IntProduct& product, double scale) {
  try {
    const Multiplier m = make_multiplier(scale);
    product.multiplier.push_back(m.multiplier);
    product.shift.push_back(m.shift);
  } catch (const std::invalid_argument& error) {
    throw std::invalid_argument(product.name + ": " + error.what());
  }
}

// One layer after the other. A product waits for the quantizer that turns its sums into codes.
class Lowering {
 public:
  Lowering(const Shape& image, double pixel_divisor) {
    model_.input.image = image;
    model_.input.pixel_divisor = pixel_divisor;
    shape_ = image;
  }

  void add(const NamedModule& layer) {
    if (auto* activation = dynamic_cast<QuantActivation*>(layer.module))
      return quantize(layer.name, *activation);
    if (const auto* norm = dynamic_cast<nn::BatchNorm2d*>(layer.module)) return normalize(layer.name, *norm);
    if (dynamic_cast<nn::ReLU*>(layer.module) != nullptr) return rectify(layer.name);
    require_codes(layer);
    if (const auto* pool = dynamic_cast<nn::MaxPool2d*>(layer.module))
      append(IntMaxPool{layer.name, pool->kernel(), pool->options()});
    else if (const auto* flatten = dynamic_cast<nn::Flatten*>(layer.module))
      append_flatten(layer.name, *flatten);
    else if (dynamic_cast<nn::AvgPool2d*>(layer.module) != nullptr ||
             dynamic_cast<nn::AdaptiveAvgPool2d*>(layer.module) != nullptr)
      wait_for_quantizer(average_of(layer, shape_));
    else
      wait_for_quantizer(product_of(layer, format_));
  }

  IntModel finish() {
    NIBBLE_CHECK(has_input_, "the network has no layers that can be lowered");
    if (pending_) {
      NIBBLE_CHECK(!rectified_, pending_->name,
                   ": a ReLU behind the last layer that is not quantized; leave it out or ", "use QuantReLU");
      finish_logits(*pending_);
      append(std::move(*pending_));
    }
    check(model_);
    return std::move(model_);
  }

 private:
  void append(IntLayer layer) {
    shape_ = output_shape(layer, shape_);
    format_ = output_format(layer, format_);
    model_.layers.push_back(std::move(layer));
  }

  void append_flatten(const std::string& name, const nn::Flatten& flatten) {
    NIBBLE_CHECK(flatten.start_dim() == 1, name, ": flattens from dimension ", flatten.start_dim(),
                 ", expected 1: all of an image");
    append(IntFlatten{name});
  }

  void wait_for_quantizer(IntProduct product) {
    pending_ = std::move(product);
    rectified_ = false;
  }

  void quantize(const std::string& name, QuantActivation& activation) {
    CodeFormat format = format_of(name, activation);
    if (!has_input_) return set_input(activation, format);
    if (!pending_) pending_ = ones(name);
    if (rectified_) format.lo = std::max(format.lo, format.zero_point);
    pending_->out = format;
    for (std::size_t k = 0; k < pending_->weight_scale.size(); ++k)
      append_multiplier(*pending_, format_.scale * pending_->weight_scale[k] / format.scale);
    append(std::move(*pending_));
    pending_.reset();
  }

  void set_input(QuantActivation& activation, const CodeFormat& format) {
    const Tensor codes = codes_of(activation, pixel_values(model_.input.pixel_divisor));
    for (std::size_t p = 0; p < model_.input.codes.size(); ++p)
      model_.input.codes[p] = static_cast<std::int16_t>(codes.data<std::int32_t>()[p]);
    model_.input.format = format_ = format;
    has_input_ = true;
  }

  // Codes that are quantized again: a product by 1.
  IntProduct ones(const std::string& name) const {
    NIBBLE_CHECK(shape_.rank() == 3, name,
                 ": quantizes codes behind a Flatten again; put it before the Flatten");
    IntProduct product;
    product.name = name;
    product.weight = full({shape_[0], 1, 1, 1}, 1, DType::int8);
    product.weight_bits = 1;
    product.weight_scale = {1};
    product.options.groups = shape_[0];
    product.bias.assign(static_cast<std::size_t>(shape_[0]), 0);
    return product;
  }

  void normalize(const std::string& name, const nn::BatchNorm2d& norm) {
    NIBBLE_CHECK(pending_ && !rectified_, name,
                 ": batch norm is lowered right behind a QuantConv2d only, into which it is folded");
    fold(*pending_, name, norm, format_);
  }

  void rectify(const std::string& name) {
    NIBBLE_CHECK(pending_, name, ": a ReLU that is not quantized; use QuantReLU");
    rectified_ = true;
  }

  void require_codes(const NamedModule& layer) const {
    NIBBLE_CHECK(has_input_, layer.name, ": its input is not quantized; put a QuantIdentity first");
    NIBBLE_CHECK(!pending_, layer.name, ": its input, the output of ", pending_ ? pending_->name : "",
                 ", is not quantized; put a QuantReLU or QuantIdentity between them");
  }

  // Sums with different scales cannot be compared. They are brought to the largest scale, refined by as many
  // bits as the worst sum leaves in int32.
  void finish_logits(IntProduct& product) const {
    product.out = {.bit_width = 32,
                   .is_signed = true,
                   .zero_point = 0,
                   .lo = -INT32_MAX,
                   .hi = INT32_MAX,
                   .scale = static_cast<float>(format_.scale * product.weight_scale[0])};
    const auto& scales = product.weight_scale;
    if (std::all_of(scales.begin(), scales.end(), [&](double s) { return s == scales[0]; })) return;
    const ProductBounds bounds = bounds_of(product, format_);
    const double largest = *std::max_element(scales.begin(), scales.end());
    const int refinement = std::max(0, 31 - bounds.bits());
    const double unit = std::ldexp(largest, -refinement);
    product.out.scale = static_cast<float>(format_.scale * unit);
    for (const double scale : scales) append_multiplier(product, scale / unit);
  }

  IntModel model_;
  Shape shape_;
  CodeFormat format_;
  bool has_input_ = false;
  std::optional<IntProduct> pending_;
  bool rectified_ = false;
};

}  // namespace

IntModel lower(nn::Sequential& network, const Shape& image, double pixel_divisor) {
  const nn::EvalMode eval_mode(network);
  Lowering lowering(image, pixel_divisor);
  for (const NamedModule& layer : layers_of(network)) lowering.add(layer);
  return lowering.finish();
}

}  // namespace nibble::quant
