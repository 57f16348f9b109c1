#pragma once

#include "quant/onnx/graph_builder.h"
#include "tensor/conv.h"
#include "tensor/pool.h"

// The operators that integer models and float networks share.

namespace nibble::quant {

// `value` as the float32 that ONNX stores, a positive one; `name` opens the error.
float positive_float(const std::string& name, double value);

// pixels / divisor
GraphBuilder::Value append_division(GraphBuilder& graph, double divisor);

// inputs: x, weight and, if there is one, bias.
GraphBuilder::Value append_conv(GraphBuilder& graph, const std::string& name,
                                const std::vector<GraphBuilder::Value>& inputs, Size2 kernel,
                                const ConvOptions& options);
GraphBuilder::Value append_linear(GraphBuilder& graph, const std::string& name,
                                  const std::vector<GraphBuilder::Value>& inputs);

// x_shape: [N, C, H, W]
GraphBuilder::Value append_max_pool(GraphBuilder& graph, const std::string& name,
                                    const GraphBuilder::Value& x, const Shape& x_shape, Size2 kernel,
                                    const PoolOptions& options);
GraphBuilder::Value append_avg_pool(GraphBuilder& graph, const std::string& name,
                                    const GraphBuilder::Value& x, const Shape& x_shape, Size2 kernel,
                                    const PoolOptions& options);

// [N, ...] -> [N, everything else]
GraphBuilder::Value append_flatten(GraphBuilder& graph, const std::string& name,
                                   const GraphBuilder::Value& x);

}  // namespace nibble::quant
