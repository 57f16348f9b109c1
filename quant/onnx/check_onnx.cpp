#include <onnx/checker.h>
#include <onnx/shape_inference/implementation.h>

#include <algorithm>

#include "quant/onnx/export_onnx.h"

namespace nibble::quant {

void check_onnx(const std::string& bytes) {
  onnx::ModelProto model;
  if (!model.ParseFromString(bytes)) throw std::runtime_error("check_onnx: these bytes are no ONNX model");
  try {
    onnx::checker::check_model(model);
    // Types are compared, and a node whose shapes do not fit is an error instead of an unknown shape.
    const onnx::ShapeInferenceOptions strict(true, 1, true);
    onnx::shape_inference::InferShapes(model, onnx::OpSchemaRegistry::Instance(), strict);
  } catch (const std::exception& error) {
    std::string line = error.what();
    std::replace(line.begin(), line.end(), '\n', ' ');
    throw std::runtime_error("check_onnx: " + line);
  }
}

}  // namespace nibble::quant
