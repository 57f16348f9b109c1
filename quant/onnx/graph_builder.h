#pragma once

#include <onnx/onnx_pb.h>

#include <cstdint>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "tensor/tensor.h"

namespace nibble::quant {

struct OnnxAttribute {
  const char* name;
  std::variant<std::int64_t, float, std::vector<std::int64_t>> value;
};

// A model of one graph under construction, from "pixels" to one output. Values are known by their names;
// names are given once, else std::invalid_argument.
class GraphBuilder {
 public:
  using Value = std::string;

  GraphBuilder(const std::string& name, const Shape& image);

  static Value pixels() { return "pixels"; }
  // An initializer.
  Value constant(const std::string& name, const Tensor& value);
  // Appends a node with one output. Nodes come in the order of evaluation.
  Value node(const char* op, const std::string& name, const std::vector<Value>& inputs,
             const std::vector<OnnxAttribute>& attributes = {});

  // Makes what the last node gives the output of the graph, of shape [batch, sizes...], and serializes the
  // model.
  std::string finish(const std::string& output, const Shape& sizes);

 private:
  void claim(const std::string& value);

  onnx::ModelProto model_;
  std::set<std::string> values_;
};

}  // namespace nibble::quant
