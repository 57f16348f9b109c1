
#include "autograd/no_grad.h"
#include "nn/activation.h"
#include "nn/batch_norm2d.h"
#include "nn/conv2d.h"
#include "nn/dropout.h"
#include "nn/eval_mode.h"
#include "nn/exactly.h"
#include "nn/flatten.h"
#include "nn/linear.h"
#include "nn/pool.h"
#include "quant/onnx/export_onnx.h"
#include "quant/onnx/operators.h"
#include "tensor/factory.h"

namespace nibble::quant {
namespace {

using Value = GraphBuilder::Value;

using nn::exactly;  // a derived class computes something else, for instance with quantized weights

// One layer after the other. An image of zeros goes through the network as well, for the shapes and for every
// check that the layers make on them.
class NetworkExport {
 public:
  NetworkExport(const Shape& image, double pixel_divisor, const std::string& name)
      : graph_(name, image),
        value_(append_division(graph_, pixel_divisor)),
        x_(zeros(image.inserted(0, 1))) {}

  void add(const std::string& name, nn::Module& layer) {
    if (auto* network = exactly<nn::Sequential>(layer)) {
      for (const auto& [child_name, child] : network->named_children())
        add(detail::concat(name, ".", child_name), *child);
      return;
    }
    try {
      const Variable y = layer(x_);
      value_ = output_of(name, layer);
      x_ = y;
    } catch (const std::invalid_argument& error) {
      throw std::invalid_argument(name + ": " + error.what());
    }
  }

  std::string finish() { return graph_.finish("output", x_.shape().erased(0)); }

 private:
  Value output_of(const std::string& name, nn::Module& layer) {
    if (auto* l = exactly<nn::Conv2d>(layer))
      return append_conv(graph_, name, with_parameters(name, l->weight(), l->bias()),
                         {l->weight().size(2), l->weight().size(3)}, l->options());
    if (auto* l = exactly<nn::Linear>(layer)) {
      NIBBLE_CHECK(x_.shape().rank() == 2, "a linear layer on ", x_.shape(),
                   " has no ONNX form here; expected [N, C], as Flatten gives it");
      return append_linear(graph_, name, with_parameters(name, l->weight(), l->bias()));
    }
    if (auto* l = exactly<nn::BatchNorm2d>(layer)) return normalized(name, *l);
    if (auto* l = exactly<nn::MaxPool2d>(layer))
      return append_max_pool(graph_, name, value_, x_.shape(), l->kernel(), l->options());
    if (auto* l = exactly<nn::AvgPool2d>(layer))
      return append_avg_pool(graph_, name, value_, x_.shape(), l->kernel(), l->options());
    if (auto* l = exactly<nn::AdaptiveAvgPool2d>(layer)) return averaged(name, l->output());
    if (auto* l = exactly<nn::Flatten>(layer)) {
      NIBBLE_CHECK(l->start_dim() == 1, "flattens from dimension ", l->start_dim(), ", expected 1");
      return append_flatten(graph_, name, value_);
    }
    if (exactly<nn::ReLU>(layer)) return graph_.node("Relu", name, {value_});
    if (exactly<nn::Sigmoid>(layer)) return graph_.node("Sigmoid", name, {value_});
    if (exactly<nn::Tanh>(layer)) return graph_.node("Tanh", name, {value_});
    if (auto* l = exactly<nn::Softmax>(layer)) return graph_.node("Softmax", name, {value_}, axis(l->dim()));
    if (auto* l = exactly<nn::LogSoftmax>(layer))
      return graph_.node("LogSoftmax", name, {value_}, axis(l->dim()));
    if (exactly<nn::Dropout>(layer)) return value_;
    throw std::invalid_argument(
        "this kind of layer has no ONNX form; a quantized network is lowered to integers first");
  }

  std::vector<Value> with_parameters(const std::string& name, const Variable& weight, const Variable& bias) {
    std::vector<Value> inputs{value_, graph_.constant(name + ".weight", weight.value())};
    if (bias.defined()) inputs.push_back(graph_.constant(name + ".bias", bias.value()));
    return inputs;
  }

  Value normalized(const std::string& name, const nn::BatchNorm2d& l) {
    std::vector<Value> inputs = with_parameters(name, l.weight(), l.bias());
    inputs.push_back(graph_.constant(name + ".running_mean", l.running_mean()));
    inputs.push_back(graph_.constant(name + ".running_var", l.running_var()));
    return graph_.node("BatchNormalization", name, inputs,
                       {{"epsilon", static_cast<float>(l.options().eps)}});
  }

  // Windows of one size side by side are an ordinary pooling.
  Value averaged(const std::string& name, Size2 output) {
    const std::int64_t h = x_.size(2), w = x_.size(3);
    NIBBLE_CHECK(h % output.h == 0 && w % output.w == 0, "adaptive pooling of ", Size2(h, w), " to ", output,
                 " has no ONNX form; expected sizes that divide it");
    return append_avg_pool(graph_, name, value_, x_.shape(), {h / output.h, w / output.w}, {});
  }

  static std::vector<OnnxAttribute> axis(int dim) { return {{"axis", std::int64_t{dim}}}; }

  GraphBuilder graph_;
  Value value_;
  Variable x_;
};

}  // namespace

std::string export_onnx(nn::Sequential& network, const Shape& image, double pixel_divisor,
                        const std::string& name) {
  const nn::EvalMode eval_mode(network);
  const NoGrad no_grad;
  NetworkExport exporting(image, pixel_divisor, name);
  for (const auto& [layer_name, layer] : network.named_children()) exporting.add(layer_name, *layer);
  return exporting.finish();
}

}  // namespace nibble::quant
