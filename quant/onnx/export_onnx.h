#pragma once

#include <string>

#include "nn/sequential.h"
#include "quant/integer/model.h"

// Models as standard ONNX (opset 13), for other runtimes. Input "pixels": float32 [batch, C, H, W], raw
// pixels from 0 to 255 for any number of images; the division by pixel_divisor is part of the graph.
// Everything returns a serialized ModelProto whose graph is called `name`, the content of a .onnx file, and
// throws std::invalid_argument, naming the layer, where something has no ONNX form.

namespace nibble::quant {

// Output "logits": float32 [batch, classes]. The form is Brevitas' QCDQ: codes of up to 8 bits live in int8
// or uint8 containers, as QuantizeLinear, Clip where the range is narrower than the container's, and
// DequantizeLinear; weights are int8 initializers, biases int32 ones, behind DequantizeLinear; convolutions
// and Gemm between them are in float. An input table that QuantizeLinear would not give is looked up with
// Gather. Scales are rounded to float32, and so are sums: a runtime may tell a code that lies next to the
// middle between two from the integer model's.
std::string export_onnx(const IntModel& model, const std::string& name);

// A float network in evaluation mode, softmax included where it has one. Output "output": float32 [batch,
// ...].
std::string export_onnx(nn::Sequential& network, const Shape& image, double pixel_divisor,
                        const std::string& name);

// ONNX's own checker and its strict shape inference. Throws std::runtime_error with one line.
void check_onnx(const std::string& bytes);

}  // namespace nibble::quant
