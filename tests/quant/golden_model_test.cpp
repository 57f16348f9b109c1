// The lab's network, quantized and trained, against PyTorch and Brevitas (lab_model, qat_trajectory).

#include <cmath>

#include "autograd/ops_loss.h"
#include "nn/activation.h"
#include "nn/flatten.h"
#include "nn/pool.h"
#include "nn/sequential.h"
#include "nn/sgd.h"
#include "nn/state_dict.h"
#include "quant/calibrate.h"
#include "quant/quant_activation.h"
#include "quant/quant_conv2d.h"
#include "quant/quant_linear.h"
#include "quant/quant_tensor.h"
#include "tensor/elementwise.h"
#include "tensor/reduce.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;
using namespace nibble::quant;
using test::Golden;

namespace {

struct Bits {
  int weight = 32, act = 32;
  std::int64_t collect_stats_steps = 300;
};

// "ptqext_w4a4", "qat_w4", "qat_w4a4_collect10", "fp" ...: the widths are in the names of the runs.
Bits bits_of(const std::string& run) {
  Bits bits;
  const std::size_t w = run.find("_w");
  if (w == std::string::npos) return bits;
  std::size_t used = 0;
  bits.weight = std::stoi(run.substr(w + 2), &used);
  const std::size_t a = w + 2 + used;
  if (a < run.size() && run[a] == 'a') bits.act = std::stoi(run.substr(a + 1));
  const std::size_t collect = run.find("_collect");
  if (collect != std::string::npos) bits.collect_stats_steps = std::stoi(run.substr(collect + 8));
  return bits;
}

nn::Sequential lab_network(const Bits& bits) {
  Rng rng(0);
  LayerQuantizers quantizers;
  quantizers.weight.reset();
  if (bits.weight != 32) quantizers.weight = Int8WeightPerTensorFixedPoint(bits.weight);
  if (bits.act != 32) quantizers.bias = Int16Bias();
  const auto act = [&](ActQuantizer q) {
    q.collect_stats_steps = bits.collect_stats_steps;
    return q;
  };
  nn::Sequential model;
  const auto relu = [&](const char* name) {
    if (bits.act != 32)
      model.add(name, QuantReLU(act(Uint8ActPerTensorFloat(bits.act))));
    else
      model.add(name, nn::ReLU{});
  };
  if (bits.act != 32) model.add("identity", QuantIdentity(act(Int8ActPerTensorFloat(bits.act))));
  model.add("conv1", QuantConv2d(1, 8, 3, {.padding = 1}, quantizers, rng));
  relu("relu1");
  model.add("pool1", nn::MaxPool2d(2)).add("conv2", QuantConv2d(8, 16, 3, {.padding = 1}, quantizers, rng));
  relu("relu2");
  model.add("pool2", nn::MaxPool2d(2)).add("flatten", nn::Flatten{});
  model.add("linear", QuantLinear(784, 10, {}, quantizers, rng));
  return model;
}

const std::string kLayers[] = {"conv1", "conv2", "linear"};
const std::string kActivations[] = {"identity", "relu1", "relu2"};

void load(nn::Sequential& model, const Golden& golden, const std::string& prefix) {
  nn::StateDict state;
  for (const std::string& layer : kLayers)
    for (const char* kind : {".weight", ".bias"})
      state[layer + kind] = golden.tensor(prefix + "." + layer + kind);
  CHECK(nn::load_state_dict(model, state, false).matched.size() == 6);
}

Tensor images(const Tensor& stored) {
  const Tensor x = stored.dtype() == DType::uint8 ? stored.to(DType::float32) / 255 : stored;
  return x.reshape({-1, 1, 28, 28});
}

nn::Module& child(nn::Sequential& model, const std::string& name) {
  for (const auto& [key, module] : model.named_children())
    if (key == name) return *module;
  throw std::runtime_error("no layer " + name);
}

// Same answers but where the two best logits lie within 1e-4.
void check_answers(const Tensor& logits, const Tensor& expected) {
  const Tensor ours = argmax(logits, 1), theirs = argmax(expected, 1);
  for (std::int64_t i = 0; i < ours.numel(); ++i) {
    if (ours.data<std::int64_t>()[i] == theirs.data<std::int64_t>()[i]) continue;
    const Tensor row = expected.select(0, i).contiguous();
    const double gap =
        row.data<float>()[theirs.data<std::int64_t>()[i]] - row.data<float>()[ours.data<std::int64_t>()[i]];
    INFO("image " << i << ": answers " << ours.data<std::int64_t>()[i] << " and "
                  << theirs.data<std::int64_t>()[i] << ", gap " << gap);
    CHECK(gap < 1e-4);
  }
}

// Whether float sums in another order may put a code of each image on the other side of a half:
// |frac(x / scale) - 0.5| < 1e-5 * max(1, |x / scale|).
std::vector<bool> has_doubtful_code(const Tensor& x, const Tensor& scale) {
  const Tensor quotient = div(x, scale).flatten(1).contiguous();
  std::vector<bool> doubtful(static_cast<std::size_t>(x.size(0)));
  for (std::int64_t i = 0; i < quotient.numel(); ++i) {
    const double q = quotient.data<float>()[i];
    if (q > 0 && std::abs(q - std::floor(q) - 0.5) < 1e-5 * std::max(1.0, q))
      doubtful[static_cast<std::size_t>(i / quotient.size(1))] = true;
  }
  return doubtful;
}

// Logits agree to 1e-4, except in the few images downstream of a doubtful code.
Tensor check_logits(nn::Sequential& model, const Tensor& images, const Tensor& expected) {
  std::vector<bool> doubtful(static_cast<std::size_t>(images.size(0)));
  Variable x(images);
  for (const auto& [name, module] : model.named_children()) {
    const Variable in = x;
    x = (*module)(in);
    if (dynamic_cast<QuantActivation*>(module.get()) == nullptr) continue;
    const std::vector<bool> here = has_doubtful_code(in.value(), QuantTensor(x).scale().value());
    for (std::size_t i = 0; i < here.size(); ++i) doubtful[i] = doubtful[i] || here[i];
  }
  REQUIRE(x.shape() == expected.shape());
  const Tensor difference = max(abs(sub(x.value(), expected)), 1).values.contiguous();
  std::size_t off = 0;
  for (std::size_t i = 0; i < doubtful.size(); ++i) {
    if (difference.values<float>()[i] <= 1e-4f) continue;
    ++off;
    CAPTURE(i, difference.values<float>()[i]);
    CHECK(doubtful[i]);
  }
  CHECK(off <= std::max<std::size_t>(1, doubtful.size() / 50));
  return x.value();
}

}  // namespace

TEST_CASE("golden: post-training quantization of the lab's network") {
  const Golden golden("lab_model");
  const Tensor test_images = images(golden.tensor("test_images")),
               calibration = images(golden.tensor("calibration_images"));
  for (const char* name : {"fp3", "fp6"}) {
    INFO(name);
    nn::Sequential model = lab_network({});
    load(model, golden, name);
    const Tensor logits = model(test_images).value();
    CHECK(test::relative_error(logits, golden.tensor(std::string(name) + ".logits"), 1) <= 1e-4);
  }
  int runs = 0;
  for (const auto& [key, tensor] : golden.file().tensors) {
    if (key.rfind("ptq", 0) != 0 || key.find(".logits") == std::string::npos ||
        key.find(".logits_") != std::string::npos)
      continue;
    const std::string run = key.substr(0, key.find('.'));
    INFO(run);
    ++runs;
    const Bits bits = bits_of(run);
    const bool extended = bits.act != 32;
    if (run.rfind("ptqext", 0) == 0) REQUIRE(extended);
    nn::Sequential model = lab_network(bits);
    load(model, golden, "fp6");
    model.eval();
    for (const std::string& layer : kLayers) {
      INFO(layer);
      const QuantTensor q(dynamic_cast<QuantLayer&>(child(model, layer)).quantized_weight());
      CHECK(test::same_elements(q.codes(), golden.tensor(run + "." + layer + ".int_weight")));
      CHECK(test::same_elements(q.scale().value(), golden.tensor(run + "." + layer + ".scale")));
      CHECK(test::max_ulps(q.value().value(), golden.tensor(run + "." + layer + ".qweight")) <= 2);
    }
    const auto all_batches = [&] {
      for (std::int64_t at = 0; at + 64 <= calibration.size(0); at += 64)
        model(calibration.narrow(0, at, 64));
    };
    {
      const calibration_mode calibrating(model);
      all_batches();
    }
    if (extended) {
      const auto state = nn::state_dict(model);
      for (const std::string& act : kActivations)
        CHECK(test::relative_error(state.at(act + ".scale_value"),
                                   golden.tensor(run + "." + act + ".scale_value")) <= 1e-6);
    }
    check_logits(model, test_images,
                 golden.tensor(run + (extended ? ".logits_calibrated" : ".logits_before")));
    {
      const bias_correction_mode correcting(model);
      all_batches();
    }
    const auto state = nn::state_dict(model);
    for (const std::string& layer : kLayers)
      CHECK(test::relative_error(state.at(layer + ".bias"),
                                 golden.tensor(run + "." + layer + ".bias_corrected"), 1) <= 1e-4);
    const Tensor logits = check_logits(model, test_images, golden.tensor(run + ".logits"));
    check_answers(logits, golden.tensor(run + ".logits"));
  }
  CHECK(runs >= 1);
}

TEST_CASE("golden: thirty training steps follow the reference step by step") {
  const Golden golden("qat_trajectory");
  const Golden lab("lab_model");
  const Tensor train_images = images(golden.tensor("images")),
               labels = golden.tensor("labels").to(DType::int64);
  const Tensor test_images = images(lab.tensor("test_images"));
  int runs = 0;
  for (const auto& [key, losses] : golden.file().tensors) {
    if (key.size() < 5 || key.substr(key.size() - 5) != ".loss") continue;
    const std::string run = key.substr(0, key.size() - 5);
    INFO(run);
    ++runs;
    const Bits bits = bits_of(run);
    nn::Sequential model = lab_network(bits);
    load(model, golden, "start");
    nn::SGD optimizer(model.named_parameters(), {.lr = 0.01, .momentum = 0.9});
    for (std::int64_t step = 0; step < losses.numel(); ++step) {
      INFO("step " << step);
      Variable x(train_images.narrow(0, 64 * step, 64));
      std::vector<double> scales;
      for (const auto& [name, module] : model.named_children()) {
        x = (*module)(x);
        if (dynamic_cast<QuantActivation*>(module.get()) != nullptr)
          scales.push_back(QuantTensor(x).scale().value().item());
      }
      const Variable loss = cross_entropy(softmax(x, 1), labels.narrow(0, 64 * step, 64));
      CHECK(std::abs(loss.value().item() - losses.data<float>()[step]) <= 1e-4);
      for (std::size_t k = 0; k < scales.size(); ++k) {
        const double expected =
            golden.tensor(run + ".act_scale").select(0, step).select(0, static_cast<std::int64_t>(k)).item();
        CHECK(std::abs(scales[k] - expected) <= 1e-4 * std::abs(expected));
      }
      optimizer.zero_grad();
      loss.backward();
      optimizer.step();
    }
    model.eval();
    const Tensor logits = model(test_images).value();
    check_answers(logits, golden.tensor(run + ".test_logits"));
    if (bits.act != 32) {
      const auto state = nn::state_dict(model);
      for (const std::string& act : kActivations) {
        INFO(act);
        CHECK(test::relative_error(state.at(act + ".scale_buffer"),
                                   golden.tensor(run + "." + act + ".buffer")) <= 1e-4);
      }
    }
  }
  CHECK(runs >= 1);
}
