#include "quant/onnx/export_onnx.h"

#include <onnx/onnx_pb.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "autograd/no_grad.h"
#include "nn/activation.h"
#include "nn/batch_norm2d.h"
#include "nn/conv2d.h"
#include "nn/dropout.h"
#include "nn/eval_mode.h"
#include "nn/flatten.h"
#include "nn/linear.h"
#include "quant/integer/bounds.h"
#include "quant/integer/reference.h"
#include "quant/multiplier.h"
#include "quant/qparams.h"
#include "quant/quant_conv2d.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/reduce.h"
#include "tests/support/catch.h"

using namespace nibble;
using namespace nibble::quant;
using Catch::Matchers::Contains;

namespace {

std::int64_t between(std::int64_t lo, std::int64_t hi, Rng& rng) {
  return lo + static_cast<std::int64_t>(rng.below(static_cast<std::uint64_t>(hi - lo + 1)));
}
bool coin(Rng& rng) { return rng.below(2) == 1; }

CodeFormat codes(int bits, bool is_signed, double scale) {
  const IntegerRange range = integer_range(bits, is_signed, false);
  return {.bit_width = bits,
          .is_signed = is_signed,
          .zero_point = 0,
          .lo = static_cast<std::int32_t>(range.lo),
          .hi = static_cast<std::int32_t>(range.hi),
          .scale = scale};
}

// As a quantizer fills it: the zero point added before rounding.
void fill_table(IntInput& input) {
  const CodeFormat& f = input.format;
  for (std::size_t pixel = 0; pixel < 256; ++pixel) {
    const float value = static_cast<float>(pixel) / static_cast<float>(input.pixel_divisor);
    const float steps = value / static_cast<float>(f.scale) + static_cast<float>(f.zero_point);
    input.codes[pixel] = static_cast<std::int16_t>(std::clamp<double>(std::nearbyint(steps), f.lo, f.hi));
  }
}

struct Weights {
  int bits = 8;
  bool per_channel = false;
};

// A layer with random weights on codes of `input`, not requantized. Scales are floats, as training leaves
// them.
IntProduct random_product(const std::string& name, const Shape& weight, Weights weights,
                          const ConvOptions& options, const CodeFormat& input, Rng& rng) {
  IntProduct product;
  product.name = name;
  product.weight_bits = weights.bits;
  product.options = options;
  product.weight = empty(weight, DType::int8);
  const int most = weights.bits == 1 ? 1 : (1 << (weights.bits - 1)) - 1;
  for (std::int8_t& code : product.weight.mutable_values<std::int8_t>())
    code = static_cast<std::int8_t>(weights.bits == 1 ? (coin(rng) ? 1 : -1) : between(-most, most, rng));
  for (std::int64_t k = 0; k < weight[0]; ++k) {
    product.bias.push_back(static_cast<std::int32_t>(between(-20, 20, rng)) * input.hi);
    if (k == 0 || weights.per_channel)
      product.weight_scale.push_back(static_cast<float>((1 + rng.uniform()) / (16 * most)));
  }
  product.out = {.bit_width = 32, .is_signed = true, .zero_point = 0, .lo = -INT32_MAX, .hi = INT32_MAX};
  product.out.scale = input.scale * product.weight_scale[0];
  return product;
}

void set_multipliers(IntProduct& product, const CodeFormat& input, double unit) {
  for (const double scale : product.weight_scale) {
    const Multiplier m = make_multiplier(input.scale * scale / unit);
    product.multiplier.push_back(m.multiplier);
    product.shift.push_back(m.shift);
  }
}

// Requantizes to codes; most sums stay well inside their range. The random factor keeps ratios of scales away
// from simple fractions, whose sums lie in the middle between two codes: there a float runtime may round
// either way.
void requantize_to(IntProduct& product, const CodeFormat& input, CodeFormat out, Rng& rng) {
  const double depth = static_cast<double>(product.weight.numel() / product.out_channels());
  const double largest = std::max(input.hi, -input.lo) * std::sqrt(depth) * (1 << product.weight_bits);
  out.scale = static_cast<float>(input.scale * product.weight_scale[0] * largest * (1 + rng.uniform()) /
                                 (4 * out.hi));
  product.out = out;
  set_multipliers(product, input, out.scale);
}

// Logits with a scale per channel, in one unit.
void requantize_logits(IntProduct& product, const CodeFormat& input) {
  const double largest = *std::max_element(product.weight_scale.begin(), product.weight_scale.end());
  product.out.scale = input.scale * std::ldexp(largest, bounds_of(product, input).bits() - 31);
  set_multipliers(product, input, product.out.scale);
}

// The lab's network: conv 1 -> 8, pool, conv 8 -> 16, pool, linear 784 -> 10.
IntModel lab_model(int weight_bits, int act_bits, Rng& rng) {
  IntModel model;
  model.input.image = {1, 28, 28};
  model.input.format = codes(act_bits, true, static_cast<float>(std::ldexp(1.03, 1 - act_bits)));
  fill_table(model.input);
  CodeFormat format = model.input.format;
  const auto add_conv = [&](const std::string& number, std::int64_t in, std::int64_t out) {
    IntProduct conv =
        random_product("conv" + number, {out, in, 3, 3}, {weight_bits}, {.padding = 1}, format, rng);
    requantize_to(conv, format, codes(act_bits, false, 1), rng);
    format = conv.out;
    model.layers.push_back(std::move(conv));
    model.layers.push_back(IntMaxPool{"pool" + number, 2, {}});
  };
  add_conv("1", 1, 8);
  add_conv("2", 8, 16);
  model.layers.push_back(IntFlatten{"flatten"});
  model.layers.push_back(random_product("linear", {10, 784}, {weight_bits}, {}, format, rng));
  return model;
}

CodeFormat random_codes(Rng& rng) {
  CodeFormat format = codes(static_cast<int>(between(2, 8, rng)), coin(rng), 1);
  if (coin(rng))
    format.zero_point = static_cast<std::int32_t>(between(format.lo, (format.lo + format.hi) / 2, rng));
  if (coin(rng)) format.lo = format.zero_point;  // a ReLU
  return format;
}

Weights random_weights(Rng& rng) {
  return {.bits = static_cast<int>(between(1, 8, rng)), .per_channel = coin(rng)};
}

// Everything that an integer model may have, in sizes that a test can afford.
IntModel random_model(Rng& rng) {
  IntModel model;
  model.input.image = {2, between(24, 28, rng), between(24, 28, rng)};
  model.input.format = random_codes(rng);
  model.input.format.scale =
      static_cast<float>(1.0 / (model.input.format.hi - model.input.format.zero_point));
  fill_table(model.input);
  Shape shape = model.input.image;
  CodeFormat format = model.input.format;
  const auto append = [&](const IntLayer& layer) {
    shape = output_shape(layer, shape);
    format = output_format(layer, format);
    model.layers.push_back(layer);
  };
  for (int i = 0; i < 2; ++i) {
    const std::string number = std::to_string(i);
    const std::int64_t groups = between(1, 2, rng), out = 2 * between(1, 3, rng);
    const ConvOptions options{.stride = Size2(between(1, 2, rng), 1),
                              .padding = Size2(between(0, 1, rng), between(0, 1, rng)),
                              .dilation = Size2(1, between(1, 2, rng)),
                              .groups = groups};
    const Shape weight{out, shape[0] / groups, between(1, 3, rng), between(1, 3, rng)};
    IntProduct conv = random_product("conv" + number, weight, random_weights(rng), options, format, rng);
    requantize_to(conv, format, random_codes(rng), rng);
    append(conv);
    if (coin(rng))
      append(IntMaxPool{
          "pool" + number,
          Size2(2, between(2, 3, rng)),
          {.stride = Size2(between(1, 2, rng), 2), .padding = between(0, 1, rng), .ceil_mode = coin(rng)}});
  }
  if (coin(rng)) {
    append(IntFlatten{"flatten"});
    IntProduct linear = random_product("linear", {10, shape[0]}, random_weights(rng), {}, format, rng);
    if (linear.weight_scale.size() > 1) requantize_logits(linear, format);
    append(linear);
  } else {
    // A network may end in codes, and in a convolution.
    IntProduct last = random_product("last", {3, shape[0], 1, 1}, random_weights(rng), {}, format, rng);
    requantize_to(last, format, codes(8, true, 1), rng);
    append(last);
  }
  return model;
}

nn::Sequential float_network(Rng& rng) {
  nn::Sequential features, network;
  features.add("conv", nn::Conv2d(1, 4, 3, {.stride = 2, .padding = Size2(1, 0), .bias = false}, rng))
      .add("norm", nn::BatchNorm2d(4))
      .add("relu", nn::ReLU{})
      .add("pool", nn::MaxPool2d(2, {.stride = 3, .padding = 1, .ceil_mode = true}));
  network.add("features", std::move(features))
      .add("depthwise", nn::Conv2d(4, 4, Size2(1, 3), {.dilation = 1, .groups = 4}, rng))
      .add("tanh", nn::Tanh{})
      .add("drop", nn::Dropout(0.5, 1))
      .add("average", nn::AvgPool2d(2, {.stride = 1, .padding = 1}))
      .add("adaptive", nn::AdaptiveAvgPool2d(Size2(3, 2)))
      .add("flatten", nn::Flatten{})
      .add("output", nn::Linear(24, 10, rng))  // called like the output of the graph
      .add("sigmoid", nn::Sigmoid{})
      .add("softmax", nn::Softmax(-1));
  return network;
}

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
  CHECK(operators_of(graph) ==
        std::vector<std::string>{"Div", "Conv", "BatchNormalization", "Relu", "MaxPool", "Conv", "Tanh",
                                 "AveragePool", "AveragePool", "Flatten", "Gemm", "Sigmoid", "Softmax"});
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
  model.input.format.scale = 1e-60;
  CHECK_THROWS_WITH(export_onnx(model, "lab"), Contains("input.scale: 1e-60"));
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

namespace {

// Patches of 8x8 with a brightness each, and noise: images that differ, so that their answers do.
Tensor random_pixels(std::int64_t n, const Shape& image, Rng& rng) {
  Tensor pixels = empty(image.inserted(0, n), DType::uint8);
  std::uint8_t* to = pixels.mutable_data<std::uint8_t>();
  for (std::int64_t plane = 0; plane < n * image[0]; ++plane) {
    std::array<std::uint64_t, 16> patches;
    for (std::uint64_t& patch : patches) patch = rng.below(192);
    for (std::int64_t y = 0; y < image[1]; ++y)
      for (std::int64_t x = 0; x < image[2]; ++x)
        *to++ =
            static_cast<std::uint8_t>(patches[static_cast<std::size_t>(y / 8 * 4 + x / 8)] + rng.below(64));
  }
  return pixels;
}

// Takes the average of each logit over the images from its bias, else most networks have one answer for all
// of them.
void center_logits(IntModel& model, const Tensor& pixels) {
  const Tensor sums = run_reference(model, pixels).back().accumulators.to(DType::float64);
  auto& last = std::get<IntProduct>(model.layers.back());
  for (std::int64_t k = 0; k < last.out_channels(); ++k)
    last.bias[static_cast<std::size_t>(k)] -= static_cast<std::int32_t>(mean(sums.select(1, k)).item());
}

void write(const std::filesystem::path& path, const void* data, std::size_t bytes) {
  std::ofstream(path, std::ios::binary)
      .write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
}

// Runs run_ort.mjs on the model; `expected` as described there.
int run_in_onnx_runtime(const std::string& model, const Tensor& pixels, const Tensor& expected) {
  std::string folder = (std::filesystem::temp_directory_path() / "nibble-onnx-XXXXXX").string();
  REQUIRE(mkdtemp(folder.data()) != nullptr);
  const std::filesystem::path path = folder;
  write(path / "model.onnx", model.data(), model.size());
  write(path / "pixels.bin", pixels.data<std::uint8_t>(), pixels.values<std::uint8_t>().size_bytes());
  write(path / "expected.bin", expected.data<std::int32_t>(), expected.values<std::int32_t>().size_bytes());
  const std::string command = "node '" NIBBLE_SOURCE_DIR "/tests/onnx/run_ort.mjs' '" + folder +
                              "/model.onnx' '" + folder + "/pixels.bin' '" + folder + "/expected.bin'";
  const int status = std::system(command.c_str());
  std::filesystem::remove_all(path);
  return status;
}

}  // namespace

TEST_CASE("ONNX Runtime gives the answers of the integer model and of the float network", "[.][runtime]") {
  if (std::getenv("NIBBLE_ORT_NODE") == nullptr) {
    std::cout << "skipped: NIBBLE_ORT_NODE does not name an installed onnxruntime-node\n";
    return;
  }
  constexpr std::int64_t kImages = 200;
  const auto compare = [](IntModel model, Rng& rng) {
    const Tensor pixels = random_pixels(kImages, model.input.image, rng);
    center_logits(model, pixels.narrow(0, 0, 20));
    const Tensor logits = run_reference(model, pixels).back().codes.contiguous();
    CHECK(run_in_onnx_runtime(export_onnx(model, "model"), pixels, logits) == 0);
  };
  for (const int bits : {4, 8}) {
    Rng rng(static_cast<std::uint64_t>(bits));
    compare(lab_model(bits, bits, rng), rng);
  }
  for (int seed = 0; seed < 4 * NIBBLE_TEST_REPEAT; ++seed) {
    INFO("seed " << seed);
    Rng rng(static_cast<std::uint64_t>(seed));
    compare(random_model(rng), rng);
  }

  Rng rng(9);
  nn::Sequential network = float_network(rng);
  const Tensor pixels = random_pixels(kImages, {1, 28, 28}, rng);
  const nn::EvalMode eval_mode(network);
  const NoGrad no_grad;
  const Tensor output = network(div(pixels.to(DType::float32), scalar(255))).value();
  CHECK(run_in_onnx_runtime(export_onnx(network, {1, 28, 28}, 255, "float"), pixels,
                            argmax(output, 1).to(DType::int32)) == 0);
}
