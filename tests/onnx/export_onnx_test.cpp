#include "quant/onnx/export_onnx.h"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <cstring>

#include "nn/activation.h"
#include "nn/conv2d.h"
#include "nn/flatten.h"
#include "nn/linear.h"
#include "quant/quant_conv2d.h"
#include "tests/onnx/models.h"
#include "tests/support/catch.h"

using namespace nibble;
using namespace nibble::quant;
using namespace nibble::test;
using Catch::Matchers::Contains;

namespace {

onnx::GraphProto graph_of(const std::string& bytes) {
  onnx::ModelProto model;
  REQUIRE(model.ParseFromString(bytes));
  CHECK(model.opset_import(0).version() >= 13);
  return model.graph();
}

const onnx::NodeProto* find_node(const onnx::GraphProto& graph, const std::string& name) {
  const auto found = std::find_if(graph.node().begin(), graph.node().end(),
                                  [&](const onnx::NodeProto& node) { return node.name() == name; });
  return found == graph.node().end() ? nullptr : &*found;
}

const onnx::TensorProto& initializer(const onnx::GraphProto& graph, const std::string& name) {
  for (const onnx::TensorProto& tensor : graph.initializer())
    if (tensor.name() == name) return tensor;
  throw std::runtime_error("no initializer " + name);
}

template <class T>
T scalar_of(const onnx::GraphProto& graph, const std::string& name) {
  const onnx::TensorProto& tensor = initializer(graph, name);
  REQUIRE(tensor.dims_size() == 0);
  REQUIRE(tensor.raw_data().size() == sizeof(T));
  T value;
  std::memcpy(&value, tensor.raw_data().data(), sizeof(T));
  return value;
}

std::vector<std::string> operators_of(const onnx::GraphProto& graph) {
  std::vector<std::string> names;
  for (const onnx::NodeProto& node : graph.node()) names.push_back(node.op_type());
  return names;
}

}  // namespace

TEST_CASE("an integer model is quantize, clip, dequantize around int8 containers") {
  Rng rng(1);
  const std::string bytes = export_onnx(lab_model(4, 4, rng), "lab");
  check_onnx(bytes);
  const onnx::GraphProto graph = graph_of(bytes);
  CHECK(graph.name() == "lab");

  REQUIRE(graph.input_size() == 1);
  CHECK(graph.input(0).name() == "pixels");
  const onnx::TensorShapeProto& image = graph.input(0).type().tensor_type().shape();
  CHECK(image.dim(0).dim_param() == "batch");
  CHECK(image.dim(3).dim_value() == 28);
  REQUIRE(graph.output_size() == 1);
  CHECK(graph.output(0).name() == "logits");
  CHECK(graph.output(0).type().tensor_type().shape().dim(0).dim_param() == "batch");
  CHECK(graph.output(0).type().tensor_type().shape().dim(1).dim_value() == 10);

  CHECK(initializer(graph, "conv1.weight").data_type() == onnx::TensorProto::INT8);
  CHECK(initializer(graph, "conv1.bias").data_type() == onnx::TensorProto::INT32);
  CHECK(scalar_of<std::int8_t>(graph, "conv1.weight.lo") == -7);
  CHECK(scalar_of<std::int8_t>(graph, "conv1.weight.hi") == 7);
  CHECK(scalar_of<std::int8_t>(graph, "input.lo") == -8);
  CHECK(scalar_of<std::int8_t>(graph, "input.hi") == 7);
  CHECK(scalar_of<std::uint8_t>(graph, "conv2.lo") == 0);
  CHECK(scalar_of<std::uint8_t>(graph, "conv2.hi") == 15);
  REQUIRE(find_node(graph, "conv2.clip") != nullptr);
  CHECK(find_node(graph, "conv2.clip")->input(0) == find_node(graph, "conv2.quantize")->output(0));
  CHECK(find_node(graph, "conv2.dequantize")->input(0) == find_node(graph, "conv2.clip")->output(0));
  CHECK(find_node(graph, "linear.quantize") == nullptr);
}

TEST_CASE("8-bit codes fill their containers and need no clip, unless a ReLU raised the lower end") {
  Rng rng(2);
  IntModel model = lab_model(8, 8, rng);
  const std::vector<std::string> operators = operators_of(graph_of(export_onnx(model, "lab")));
  CHECK(std::count(operators.begin(), operators.end(), "Clip") == 0);
  CHECK(std::count(operators.begin(), operators.end(), "QuantizeLinear") == 3);

  auto& conv = std::get<IntProduct>(model.layers[0]);
  conv.out.zero_point = conv.out.lo = 17;
  const std::string bytes = export_onnx(model, "lab");
  check_onnx(bytes);
  CHECK(scalar_of<std::uint8_t>(graph_of(bytes), "conv1.zero_point") == 17);
  CHECK(scalar_of<std::uint8_t>(graph_of(bytes), "conv1.lo") == 17);
  CHECK(scalar_of<std::uint8_t>(graph_of(bytes), "conv1.hi") == 255);
}

TEST_CASE("scales are those of training, for biases their product") {
  Rng rng(3);
  const IntModel model = lab_model(4, 4, rng);
  const onnx::GraphProto graph = graph_of(export_onnx(model, "lab"));
  const auto input = static_cast<float>(model.input.format.scale);
  const auto weight = static_cast<float>(std::get<IntProduct>(model.layers[0]).weight_scale[0]);
  CHECK(scalar_of<float>(graph, "input.scale") == input);
  CHECK(scalar_of<float>(graph, "conv1.weight.scale") == weight);
  CHECK(scalar_of<float>(graph, "conv1.bias.scale") == input * weight);
}

TEST_CASE("a table that QuantizeLinear would not give is looked up") {
  Rng rng(4);
  IntModel model = lab_model(4, 4, rng);
  model.input.codes[100] = -8;
  const std::string bytes = export_onnx(model, "lab");
  check_onnx(bytes);
  const std::vector<std::string> operators = operators_of(graph_of(bytes));
  CHECK(std::count(operators.begin(), operators.end(), "Gather") == 1);
  CHECK(std::count(operators.begin(), operators.end(), "Div") == 0);
  CHECK(initializer(graph_of(bytes), "input.table").raw_data()[100] == -8);
}

TEST_CASE("whatever an integer model has passes ONNX's checker") {
  for (int seed = 0; seed < 30 * NIBBLE_TEST_REPEAT; ++seed) {
    INFO("seed " << seed);
    Rng rng(static_cast<std::uint64_t>(seed));
    const IntModel model = random_model(rng);
    const std::string bytes = export_onnx(model, "random");
    CHECK_NOTHROW(check_onnx(bytes));
    const onnx::GraphProto graph = graph_of(bytes);
    const onnx::TensorShapeProto& logits = graph.output(0).type().tensor_type().shape();
    REQUIRE(logits.dim_size() == 2);
    CHECK(logits.dim(1).dim_value() == logits_of(model));
  }
}

TEST_CASE("a float network is plain ONNX in evaluation mode") {
  Rng rng(5);
  nn::Sequential network = float_network(rng);
  const std::string bytes = export_onnx(network, {1, 28, 28}, 255, "float");
  check_onnx(bytes);
  CHECK(network.is_training());
  const onnx::GraphProto graph = graph_of(bytes);
  CHECK(operators_of(graph) == std::vector<std::string>{"Div", "Conv", "BatchNormalization", "Relu",
                                                        "MaxPool", "Conv", "Tanh", "AveragePool",
                                                        "AveragePool", "AveragePool", "Flatten", "Gemm",
                                                        "Sigmoid", "Softmax"});
  CHECK(graph.output(0).name() == "output");
  CHECK(initializer(graph, "features.conv.weight").data_type() == onnx::TensorProto::FLOAT);
  CHECK(initializer(graph, "features.norm.running_var").dims(0) == 4);
  CHECK(find_node(graph, "features.conv")->input_size() == 2);  // no bias
  CHECK(find_node(graph, "depthwise")->input_size() == 3);
}

TEST_CASE("what has no ONNX form is refused by name") {
  Rng rng(6);
  const auto refuse = [&](auto layer, const std::string& reason) {
    INFO("expected: " << reason);
    nn::Sequential network;
    network.add("first", nn::ReLU{}).add("odd", std::move(layer));
    CHECK_THROWS_WITH(export_onnx(network, {1, 9, 9}, 255, "float"), Contains("odd: ") && Contains(reason));
  };
  struct Doubling : nn::ReLU {
    Variable forward(const Variable& x) override { return add(x, x); }
  };
  refuse(Doubling{}, "this kind of layer has no ONNX form");
  refuse(QuantConv2d(1, 2, 3, {}, {}, rng), "lowered to integers first");
  refuse(nn::Linear(9, 2, rng), "expected [N, C]");
  refuse(nn::Flatten(2), "flattens from dimension 2");
  refuse(nn::AdaptiveAvgPool2d(2), "9x9 to 2x2");
  refuse(nn::AvgPool2d(3, {.stride = 3, .padding = 1, .ceil_mode = true}), "ceil_mode");
  refuse(nn::Conv2d(3, 2, 3, {}, rng), "conv2d");

  IntModel model = lab_model(4, 4, rng);
  CHECK_THROWS_WITH(export_onnx(model, ""), Contains("needs a name"));
  std::get<IntMaxPool>(model.layers[1]).options = {.padding = 1, .dilation = 2};
  CHECK_THROWS_WITH(export_onnx(model, "lab"),
                    Contains("pool1: ") && Contains("dilation 2x2 and padding 1x1"));
}

TEST_CASE("the checker finds what is wrong and says it in one line") {
  CHECK_THROWS_WITH(check_onnx("not protobuf"), Contains("no ONNX model"));
  Rng rng(7);
  onnx::ModelProto model;
  REQUIRE(model.ParseFromString(export_onnx(lab_model(4, 4, rng), "lab")));
  onnx::ModelProto unknown_input = model;
  unknown_input.mutable_graph()->mutable_node(0)->set_input(0, "nothing");
  CHECK_THROWS_WITH(check_onnx(unknown_input.SerializeAsString()), Contains("nothing") && !Contains("\n"));
  onnx::ModelProto wrong_shape = model;
  wrong_shape.mutable_graph()
      ->mutable_output(0)
      ->mutable_type()
      ->mutable_tensor_type()
      ->mutable_shape()
      ->mutable_dim(1)
      ->set_dim_value(11);
  CHECK_THROWS_AS(check_onnx(wrong_shape.SerializeAsString()), std::runtime_error);
}
