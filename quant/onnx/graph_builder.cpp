#include "quant/onnx/graph_builder.h"

namespace nibble::quant {
namespace {

// Per-channel DequantizeLinear and Clip of 8-bit integers are there from opset 13 on; IR version 7 belongs to
// it.
constexpr int kOpset = 13, kIrVersion = 7;

onnx::TensorProto::DataType type_of(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return onnx::TensorProto::FLOAT;
    case DType::float64:
      return onnx::TensorProto::DOUBLE;
    case DType::int8:
      return onnx::TensorProto::INT8;
    case DType::uint8:
      return onnx::TensorProto::UINT8;
    case DType::int16:
      return onnx::TensorProto::INT16;
    case DType::int32:
      return onnx::TensorProto::INT32;
    case DType::int64:
      return onnx::TensorProto::INT64;
  }
  throw std::logic_error("type_of: not a DType");
}

void set(onnx::AttributeProto& to, std::int64_t value) {
  to.set_type(onnx::AttributeProto::INT);
  to.set_i(value);
}
void set(onnx::AttributeProto& to, float value) {
  to.set_type(onnx::AttributeProto::FLOAT);
  to.set_f(value);
}
void set(onnx::AttributeProto& to, const std::vector<std::int64_t>& values) {
  to.set_type(onnx::AttributeProto::INTS);
  for (const std::int64_t value : values) to.add_ints(value);
}

// float32 [batch, sizes...]
void declare(onnx::ValueInfoProto& value, const std::string& name, const Shape& sizes) {
  value.set_name(name);
  onnx::TypeProto::Tensor& tensor = *value.mutable_type()->mutable_tensor_type();
  tensor.set_elem_type(onnx::TensorProto::FLOAT);
  tensor.mutable_shape()->add_dim()->set_dim_param("batch");
  for (const std::int64_t size : sizes) tensor.mutable_shape()->add_dim()->set_dim_value(size);
}

}  // namespace

GraphBuilder::GraphBuilder(const std::string& name, const Shape& image) {
  NIBBLE_CHECK(!name.empty(), "ONNX export: a graph needs a name");
  NIBBLE_CHECK(image.rank() == 3 && image.numel() > 0, "ONNX export: an image of shape ", image,
               ", expected [C, H, W]");
  model_.set_ir_version(kIrVersion);
  model_.set_producer_name("nibble");
  model_.add_opset_import()->set_version(kOpset);
  model_.mutable_graph()->set_name(name);
  claim(pixels());
  declare(*model_.mutable_graph()->add_input(), pixels(), image);
}

GraphBuilder::Value GraphBuilder::constant(const std::string& name, const Tensor& value) {
  claim(name);
  onnx::TensorProto& tensor = *model_.mutable_graph()->add_initializer();
  tensor.set_name(name);
  tensor.set_data_type(type_of(value.dtype()));
  for (const std::int64_t size : value.shape()) tensor.add_dims(size);
  const Tensor dense = value.contiguous();
  visit(dense.dtype(), [&](auto zero) {
    const auto elements = dense.values<decltype(zero)>();
    tensor.set_raw_data(elements.data(), elements.size_bytes());
  });
  return name;
}

GraphBuilder::Value GraphBuilder::node(const char* op, const std::string& name,
                                       const std::vector<Value>& inputs,
                                       const std::vector<OnnxAttribute>& attributes) {
  // The suffix keeps a layer apart from an input or output of the graph that is called like it.
  Value output = name + ".out";
  claim(output);
  onnx::NodeProto& node = *model_.mutable_graph()->add_node();
  node.set_op_type(op);
  node.set_name(name);
  for (const Value& input : inputs) node.add_input(input);
  node.add_output(output);
  for (const OnnxAttribute& attribute : attributes) {
    onnx::AttributeProto& to = *node.add_attribute();
    to.set_name(attribute.name);
    std::visit([&](const auto& value) { set(to, value); }, attribute.value);
  }
  return output;
}

std::string GraphBuilder::finish(const std::string& output, const Shape& sizes) {
  onnx::GraphProto& graph = *model_.mutable_graph();
  NIBBLE_ASSERT(graph.node_size() > 0);
  claim(output);
  graph.mutable_node(graph.node_size() - 1)->set_output(0, output);
  declare(*graph.add_output(), output, sizes);
  std::string bytes;
  NIBBLE_CHECK(model_.SerializeToString(&bytes), "ONNX export: the model is larger than 2 GB");
  return bytes;
}

void GraphBuilder::claim(const std::string& value) {
  NIBBLE_CHECK(values_.insert(value).second, "ONNX export: two values are called \"", value, "\"");
}

}  // namespace nibble::quant
