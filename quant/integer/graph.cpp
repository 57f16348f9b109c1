#include "quant/integer/graph.h"

#include <algorithm>
#include <cmath>

#include "autograd/no_grad.h"
#include "nn/eval_mode.h"
#include "nn/pool.h"
#include "quant/integer/bounds.h"
#include "quant/integer/trained_layers.h"
#include "quant/integer/walk.h"
#include "quant/quant_layer.h"
#include "quant/quant_tensor.h"
#include "tensor/check.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/matmul.h"
#include "tensor/pool.h"

namespace nibble::quant {
namespace {

static_assert(std::numeric_limits<long double>::digits >= 62,
              "a product of a sum and a multiplier has 62 bits and must be exact");

// Codes without their zero point, as numbers.
Tensor values_of(const Tensor& codes, const CodeFormat& format, DType dtype) {
  return codes.to(dtype) - static_cast<double>(format.zero_point);
}

Tensor sums_of(const IntProduct& l, const Tensor& codes, const CodeFormat& format) {
  const DType dtype = bounds_of(l, format).largest < 1 << 24 ? DType::float32 : DType::float64;
  const Tensor x = values_of(codes, format, dtype), w = l.weight.to(dtype);
  const Tensor products = l.is_linear() ? matmul(x, w.transpose(0, 1)) : conv2d(x, w, {}, l.options);
  const Tensor bias = from_values({l.out_channels()}, l.bias);
  Shape per_channel = Shape::filled(products.rank(), 1);
  per_channel[1] = l.out_channels();
  const Tensor sums = products.to(DType::float64) + bias.to(DType::float64).reshape(per_channel);
  return sums.to(DType::int32).contiguous();
}

Tensor requantized(const IntProduct& l, const Tensor& sums) {
  Tensor codes = empty_like(sums);
  const auto from = sums.values<std::int32_t>();
  const auto to = codes.mutable_values<std::int32_t>();
  const std::int64_t channels = l.out_channels();
  const std::size_t inner =
      from.size() / static_cast<std::size_t>(std::max<std::int64_t>(1, sums.size(0) * channels));
  for (std::size_t plane = 0, i = 0; i < from.size(); ++plane) {
    const std::int64_t k = static_cast<std::int64_t>(plane) % channels;
    const long double scale = std::ldexp(static_cast<long double>(l.multiplier_of(k)), -l.shift_of(k));
    for (const std::size_t end = i + inner; i < end; ++i) {
      const long double code = std::rint(static_cast<long double>(from[i]) * scale) + l.out.zero_point;
      to[i] = static_cast<std::int32_t>(
          std::clamp(code, static_cast<long double>(l.out.lo), static_cast<long double>(l.out.hi)));
    }
  }
  return codes;
}

LayerTrace run(const IntProduct& l, const Tensor& codes, const CodeFormat& format) {
  const Tensor sums = sums_of(l, codes, format);
  return {l.name, sums, l.is_requantized() ? requantized(l, sums) : sums};
}

LayerTrace run(const IntMaxPool& l, const Tensor& codes, const CodeFormat& format) {
  // A window of nothing but padding is minus infinity in float, the least code in integers.
  const Tensor most = max_pool2d(codes.to(DType::float32), l.kernel, l.options).values;
  return {l.name, {}, maximum(most, scalar(format.lo)).to(DType::int32).contiguous()};
}

LayerTrace run(const IntFlatten& l, const Tensor& codes, const CodeFormat&) {
  return {l.name, {}, codes.flatten(1)};
}

Tensor pixels_in_float(const Tensor& pixels, double divisor) {
  // A quotient, not a product: what ToTensor and nibble's loader compute.
  return div(pixels.to(DType::float32), scalar(divisor));
}

}  // namespace

IntTrace run_deploy(const IntModel& model, const Tensor& pixels) {
  return walk(model, pixels, [](const auto& layer, const Tensor& codes, const CodeFormat& format) {
    return run(layer, codes, format);
  });
}

FakeQuantTrace run_fake_quant(nn::Sequential& network, const Tensor& pixels, double pixel_divisor) {
  const nn::EvalMode eval_mode(network);
  const NoGrad no_grad;
  FakeQuantTrace trace;
  Variable x(pixels_in_float(pixels, pixel_divisor));
  std::string product;  // whose sums wait for a quantizer
  for (const NamedModule& layer : layers_of(network)) {
    x = layer.module->forward(x);
    const bool is_quantizer = dynamic_cast<QuantActivation*>(layer.module) != nullptr;
    const bool is_pool = dynamic_cast<nn::MaxPool2d*>(layer.module) != nullptr;
    if (is_quantizer || is_pool) {
      const std::string& name = trace.layers.empty()         ? "input"
                                : is_pool || product.empty() ? layer.name
                                                             : product;
      trace.layers.push_back({name, {}, QuantTensor(x).codes().contiguous()});
      product.clear();
    } else if (product.empty() && !QuantTensor::is_quantized(x)) {
      product = layer.name;
    }
  }
  trace.logits = x.value().contiguous();
  return trace;
}

}  // namespace nibble::quant
