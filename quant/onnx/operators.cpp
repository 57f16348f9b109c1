#include "quant/onnx/operators.h"

#include <algorithm>
#include <cmath>

#include "tensor/factory.h"

namespace nibble::quant {
namespace {

using Value = GraphBuilder::Value;

std::vector<std::int64_t> list(Size2 size) { return {size.h, size.w}; }
std::vector<std::int64_t> pads(Size2 begin, Size2 end) { return {begin.h, begin.w, end.h, end.w}; }

struct Windows {
  Size2 stride, end;  // end: padding below and to the right that the last windows reach into
};

// ONNX's ceil_mode counts windows that PyTorch leaves out. Padding that fits the true number of windows needs
// no mode.
Windows windows_of(const Shape& x, Size2 kernel, const PoolOptions& o) {
  const Shape out = pool2d_shape("pooling", x, kernel, o);
  const Size2 stride = o.stride == Size2(0) ? kernel : o.stride;
  const auto reach = [](std::int64_t in, std::int64_t count, std::int64_t step, std::int64_t dilation,
                        std::int64_t window, std::int64_t padding) {
    return std::max<std::int64_t>(0, (count - 1) * step + dilation * (window - 1) + 1 - in - padding);
  };
  return {stride,
          {reach(x[2], out[2], stride.h, o.dilation.h, kernel.h, o.padding.h),
           reach(x[3], out[3], stride.w, o.dilation.w, kernel.w, o.padding.w)}};
}

}  // namespace

float positive_float(const std::string& name, double value) {
  const auto rounded = static_cast<float>(value);
  NIBBLE_CHECK(std::isfinite(rounded) && rounded > 0, name, ": ", value,
               ", expected a positive number that float32 holds");
  return rounded;
}

Value append_division(GraphBuilder& graph, double divisor) {
  const Tensor value = scalar(positive_float("pixel_divisor", divisor));
  return graph.node("Div", "pixels.divide",
                    {GraphBuilder::pixels(), graph.constant("pixels.divisor", value)});
}

Value append_conv(GraphBuilder& graph, const std::string& name, const std::vector<Value>& inputs,
                  Size2 kernel, const ConvOptions& o) {
  return graph.node("Conv", name, inputs,
                    {{"kernel_shape", list(kernel)},
                     {"strides", list(o.stride)},
                     {"pads", pads(o.padding, o.padding)},
                     {"dilations", list(o.dilation)},
                     {"group", o.groups}});
}

Value append_linear(GraphBuilder& graph, const std::string& name, const std::vector<Value>& inputs) {
  return graph.node("Gemm", name, inputs, {{"transB", 1}});
}

Value append_max_pool(GraphBuilder& graph, const std::string& name, const Value& x, const Shape& x_shape,
                      Size2 kernel, const PoolOptions& o) {
  const Windows windows = windows_of(x_shape, kernel, o);
  const Value most = graph.node("MaxPool", name, {x},
                                {{"kernel_shape", list(kernel)},
                                 {"strides", list(windows.stride)},
                                 {"pads", pads(o.padding, windows.end)},
                                 {"dilations", list(o.dilation)}});
  return o.relu ? graph.node("Relu", name + ".relu", {most}) : most;
}

Value append_avg_pool(GraphBuilder& graph, const std::string& name, const Value& x, const Shape& x_shape,
                      Size2 kernel, const PoolOptions& o) {
  const Windows windows = windows_of(x_shape, kernel, o);
  // What ceil_mode adds beyond the padding is never counted, here as in PyTorch; ONNX counts all padding or
  // none.
  const bool counts = o.count_include_pad && o.padding != Size2(0);
  NIBBLE_CHECK(!counts || (windows.end.h <= o.padding.h && windows.end.w <= o.padding.w),
               "average pooling with ceil_mode that counts its padding ", o.padding,
               " has no ONNX form; expected count_include_pad or ceil_mode to be false");
  return graph.node("AveragePool", name, {x},
                    {{"kernel_shape", list(kernel)},
                     {"strides", list(windows.stride)},
                     {"pads", pads(o.padding, windows.end)},
                     {"count_include_pad", counts}});
}

Value append_flatten(GraphBuilder& graph, const std::string& name, const Value& x) {
  return graph.node("Flatten", name, {x}, {{"axis", 1}});
}

}  // namespace nibble::quant
