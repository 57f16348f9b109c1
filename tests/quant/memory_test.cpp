#include "quant/memory.h"

#include <cmath>

#include "nn/activation.h"
#include "nn/flatten.h"
#include "nn/pool.h"
#include "quant/inspect.h"
#include "quant/quant_activation.h"
#include "quant/quant_conv2d.h"
#include "quant/quant_linear.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/reduce.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;
using namespace nibble::quant;

namespace {

nn::Sequential lab_network(int weight_bits, int act_bits) {
  Rng rng(0);
  LayerQuantizers quantizers;
  quantizers.weight.reset();
  if (weight_bits != 32) quantizers.weight = Int8WeightPerTensorFixedPoint(weight_bits);
  nn::Sequential model;
  const auto relu = [&](const char* name) {
    if (act_bits != 32)
      model.add(name, QuantReLU(Uint8ActPerTensorFloat(act_bits)));
    else
      model.add(name, nn::ReLU{});
  };
  if (act_bits != 32) model.add("identity", QuantIdentity(Int8ActPerTensorFloat(act_bits)));
  model.add("conv1", QuantConv2d(1, 8, 3, {.padding = 1}, quantizers, rng));
  relu("relu1");
  model.add("pool1", nn::MaxPool2d(2)).add("conv2", QuantConv2d(8, 16, 3, {.padding = 1}, quantizers, rng));
  relu("relu2");
  model.add("pool2", nn::MaxPool2d(2)).add("flatten", nn::Flatten{});
  model.add("linear", QuantLinear(784, 10, {}, quantizers, rng)).add("softmax", nn::Softmax(1));
  return model;
}

double kib(double bytes) { return std::round(bytes / 1024 * 1000) / 1000; }

}  // namespace

TEST_CASE("memory of the lab's network") {
  const Tensor sample = zeros({1, 1, 28, 28});
  struct Row {
    int weight, act;
    double weights, total;
  };
  for (const Row row : {Row{2, 2, 2.213, 5.278},
                        {4, 4, 4.426, 10.556},
                        {8, 8, 8.852, 21.111},
                        {8, 2, 8.852, 11.917},
                        {2, 8, 2.213, 14.473},
                        {32, 32, 35.406, 84.445}}) {
    nn::Sequential model = lab_network(row.weight, row.act);
    const MemoryLedger ledger = memory_ledger(model, sample);
    CHECK(kib(ledger.weight_bytes()) == Approx(row.weights).margin(0.0011));
    CHECK(kib(ledger.weight_bytes() + ledger.activation_bytes()) == Approx(row.total).margin(0.0011));
    std::vector<std::string> stored;
    std::int64_t values = 0;
    for (const MemoryEntry& entry : ledger.entries) {
      if (entry.is_weight) continue;
      stored.push_back(entry.layer);
      values += entry.values;
    }
    CHECK(stored == std::vector<std::string>{"input", "relu1", "pool1", "relu2", "pool2", "linear"});
    CHECK(values == 12554);
    CHECK(model.is_training());
  }
}

TEST_CASE("a layer never uses more than 2^bits codes") {
  for (int bits : {2, 3, 4}) {
    nn::Sequential model = lab_network(bits, 32);
    const auto codes = distinct_codes(model);
    for (const char* layer : {"conv1", "conv2", "linear"}) CHECK(codes.count(layer) == 1);
    CHECK(codes.size() == 3);
    for (const auto& [layer, count] : codes) {
      CHECK(count >= 2);
      CHECK(count <= (1 << bits) - 1);
    }
  }
  nn::Sequential plain = lab_network(32, 32);
  CHECK(distinct_codes(plain).empty());
}

TEST_CASE("inspect_weight shows a weight beside its codes and changes nothing") {
  const Tensor w = from_values<float>({4}, {-1.5f, 0.2f, 0.6f, 1});
  const WeightReport report = inspect_weight(w, Int8WeightPerTensorFixedPoint(2));
  CHECK(report.scale.item() == 1);
  CHECK(test::same_elements(report.codes, from_values<std::int32_t>({4}, {-1, 0, 1, 1})));
  CHECK(report.max_difference == Approx(0.2));
  CHECK(report.min_difference == Approx(-0.5));
  inspect_weight(w, SignedBinaryWeightPerTensorConst());
  CHECK(w.values<float>()[0] == -1.5f);
}
