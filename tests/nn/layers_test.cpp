#include <cmath>

#include "autograd/gradcheck.h"
#include "autograd/op_observer.h"
#include "nn/activation.h"
#include "nn/batch_norm2d.h"
#include "nn/conv2d.h"
#include "nn/dropout.h"
#include "nn/eval_mode.h"
#include "nn/flatten.h"
#include "nn/init.h"
#include "nn/linear.h"
#include "nn/pool.h"
#include "nn/sequential.h"
#include "nn/state_dict.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/reduce.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;

TEST_CASE("a network is written as a list of layers, its parameters are named after them") {
  Rng rng(0);
  nn::Sequential model{nn::Conv2d(1, 8, 3, {.padding = 1}, rng),
                       nn::ReLU{},
                       nn::MaxPool2d(2),
                       nn::Flatten{},
                       nn::Linear(1568, 10, rng),
                       nn::Softmax(1)};
  const Variable y = model(ones({3, 1, 28, 28}));
  CHECK(y.shape() == Shape{3, 10});
  CHECK(sum(y.value()).item() == Approx(3));
  std::vector<std::string> names;
  for (const auto& [name, parameter] : model.named_parameters()) names.push_back(name);
  CHECK(names == std::vector<std::string>{"0.weight", "0.bias", "4.weight", "4.bias"});

  nn::Sequential named;
  named.add("conv1", nn::Conv2d(1, 2, 3, {.bias = false}, rng)).add("bn1", nn::BatchNorm2d(2));
  names.clear();
  for (const auto& [name, tensor] : nn::state_dict(named)) names.push_back(name);
  CHECK(names == std::vector<std::string>{"bn1.bias", "bn1.num_batches_tracked", "bn1.running_mean",
                                          "bn1.running_var", "bn1.weight", "conv1.weight"});
}

TEST_CASE("a convolution runs with the ReLU and the pooling behind it, to the same results") {
  struct Doubled : nn::Conv2d {
    using Conv2d::Conv2d;
    Variable forward(const Variable& x) override { return mul(Conv2d::forward(x), Variable(full({}, 2))); }
  };
  struct Ops : OpObserver {
    std::vector<std::string> names;
    void on_forward(const char* name, std::span<const Variable>, const Variable&, std::int64_t) override {
      names.push_back(name);
    }
    void on_backward(const Node&) override {}
  };
  using Names = std::vector<std::string>;
  const auto check = [](nn::Sequential model, const Names& expected) {
    Rng rng(4);
    const Variable x(normal({9, 2, 7, 8}, 0, 1, rng));
    Ops ops;
    const Variable together = model(x);
    CHECK(ops.names == expected);
    Variable apart = x;
    for (const auto& [name, layer] : model.named_children()) apart = layer->forward(apart);
    CHECK(test::same_elements(together.value(), apart.value()));
    const Tensor grad = normal(together.shape(), 0, 1, rng);
    std::vector<Tensor> grads;
    for (const Variable& y : {together, apart}) {
      y.backward(grad);
      for (Variable& parameter : model.parameters()) {
        grads.push_back(parameter.grad());
        parameter.zero_grad();
      }
    }
    for (std::size_t i = 0; i < grads.size() / 2; ++i)
      CHECK(test::relative_error(grads[i], grads[i + grads.size() / 2], 1) < 1e-5);
  };
  Rng rng(3);
  const nn::Conv2dOptions padded{.padding = 1};
  check(nn::Sequential{nn::Conv2d(2, 4, 3, padded, rng), nn::ReLU{}, nn::MaxPool2d(2)},
        {"conv2d_max_pool2d"});
  check(nn::Sequential{nn::Conv2d(2, 4, 3, {.bias = false}, rng), nn::MaxPool2d({1, 3}), nn::ReLU{}},
        {"conv2d_max_pool2d", "relu"});
  check(nn::Sequential{nn::Conv2d(2, 4, 3, padded, rng), nn::ReLU{}, nn::AvgPool2d(2)},
        {"conv2d", "relu", "avg_pool2d"});
  check(nn::Sequential{nn::Conv2d(2, 4, 3, padded, rng), nn::Tanh{}, nn::MaxPool2d(2)},
        {"conv2d", "tanh", "max_pool2d"});
  // A derived layer may be anything.
  check(nn::Sequential{Doubled(2, 4, 3, padded, rng), nn::ReLU{}, nn::MaxPool2d(2)},
        {"conv2d", "mul", "max_pool2d"});
}

TEST_CASE("training mode reaches every module") {
  nn::Sequential inner, model;
  inner.add("drop", nn::Dropout(0.5, 1)).add("relu", nn::ReLU{});
  model.add("inner", std::move(inner));
  std::vector<std::string> names;
  for (const auto& [name, module] : model.named_modules()) names.push_back(name);
  CHECK(names == std::vector<std::string>{"", "inner", "inner.drop", "inner.relu"});
  model.eval();
  for (const auto& [name, module] : model.named_modules()) CHECK_FALSE(module->is_training());
  model.train();
  for (const auto& [name, module] : model.named_modules()) CHECK(module->is_training());
}

TEST_CASE("default initialisation is uniform within 1/sqrt(fan_in)") {
  Rng rng(5);
  const nn::Linear linear(100, 400, rng);
  const Tensor w = linear.weight().value();
  CHECK(abs_max(w).item() <= 0.1);
  CHECK(abs_max(w).item() > 0.0999);
  CHECK(std::abs(mean(w).item()) < 0.001);
  CHECK(mean(mul(w, w)).item() == Approx(0.01 / 3).epsilon(0.02));
  CHECK(abs_max(linear.bias().value()).item() <= 0.1);
  CHECK(nn::fan_in({8, 4, 3, 3}) == 36);
}

TEST_CASE("Dropout keeps the mean, is the identity in evaluation, and repeats with its seed") {
  nn::Dropout drop(0.25, 7), again(0.25, 7);
  const Variable x(ones({100, 100}));
  const Tensor y = drop(x).value();
  CHECK(mean(y).item() == Approx(1).epsilon(0.02));
  CHECK(sum(equal(y, scalar(0))).item() == Approx(2500).epsilon(0.1));
  CHECK(test::same_elements(again(x).value(), y));
  CHECK_FALSE(test::same_elements(again(x).value(), y));
  drop.eval();
  CHECK(drop(x).is_same(x));
  CHECK_THROWS_WITH(nn::Dropout(1, 0), Catch::Contains("p is 1"));
}

TEST_CASE("golden: batch_norm2d") {
  const test::Golden golden("torch_ops_batch_norm2d");
  for (int i = 0; i < golden.cases(); ++i) {
    INFO("case " << i);
    const Tensor gamma = golden.tensor(i, "gamma");
    nn::BatchNorm2d bn(gamma.size(0),
                       {.eps = golden.number(i, "eps"), .momentum = golden.number(i, "momentum")});
    nn::load_state_dict(bn, {{"weight", gamma},
                             {"bias", golden.tensor(i, "beta")},
                             {"running_mean", golden.tensor(i, "running_mean_before")},
                             {"running_var", golden.tensor(i, "running_var_before")},
                             {"num_batches_tracked", zeros({}, DType::int64)}});
    bn.train(golden.meta(i, "mode") == "train");
    Variable x(golden.tensor(i, "x"), true);
    const Variable y = bn(x);
    const auto check = [&](const char* name, const Tensor& actual) {
      INFO(name);
      CHECK(test::relative_error(actual, golden.tensor(i, name)) <= 1e-5);
    };
    check("y", y.value());
    y.backward(golden.tensor(i, "grad_y"));
    check("grad_x", x.grad());
    const auto parameters = bn.named_parameters();
    check("grad_gamma", parameters[0].second.grad());
    check("grad_beta", parameters[1].second.grad());
    check("running_mean_after", bn.named_buffers()[0].second);
    check("running_var_after", bn.named_buffers()[1].second);
  }
}

TEST_CASE("batch_norm2d passes gradcheck") {
  Rng rng(6);
  CHECK_NOTHROW(
      gradcheck([](const std::vector<Variable>& v) { return nn::batch_norm2d(v[0], v[1], v[2], 1e-5).y; },
                {uniform({3, 2, 2, 3}, -1, 1, rng, DType::float64),
                 uniform({2}, 0.5, 1.5, rng, DType::float64), uniform({2}, -1, 1, rng, DType::float64)}));
}

TEST_CASE("every layer without parameters is its operation") {
  Rng rng(7);
  const Variable x(uniform({2, 3, 4, 4}, -1, 1, rng));
  CHECK(test::same_elements(nn::Sigmoid{}(x).value(), sigmoid(x.value())));
  CHECK(test::same_elements(nn::Tanh{}(x).value(), tanh(x.value())));
  CHECK(test::same_elements(nn::LogSoftmax(1)(x).value(), log_softmax(x, 1).value()));
  CHECK(test::same_elements(nn::AvgPool2d(2)(x).value(), avg_pool2d(x.value(), 2)));
  CHECK(test::same_elements(nn::AdaptiveAvgPool2d(1)(x).value(), adaptive_avg_pool2d(x.value(), 1)));
}

TEST_CASE("names are unique within a module and have no dots") {
  nn::Sequential model;
  model.add("relu", nn::ReLU{});
  CHECK_THROWS_WITH(model.add("relu", nn::ReLU{}), Catch::Contains("registered twice"));
  CHECK_THROWS_WITH(model.add("a.b", nn::ReLU{}), Catch::Contains("without dots"));
}

TEST_CASE("EvalMode gives every module its own mode back") {
  nn::Sequential model;
  model.add("a", nn::ReLU{}).add("b", nn::ReLU{});
  model.named_children()[1].second->eval();
  {
    const nn::EvalMode eval_mode(model);
    for (const auto& [name, module] : model.named_modules()) CHECK_FALSE(module->is_training());
  }
  CHECK(model.is_training());
  CHECK(model.named_children()[0].second->is_training());
  CHECK_FALSE(model.named_children()[1].second->is_training());
}

TEST_CASE("layers name what does not fit") {
  Rng rng(0);
  CHECK_THROWS_WITH(nn::Conv2d(3, 8, 3, {.groups = 2}, rng), Catch::Contains("2 groups do not divide"));
  CHECK_THROWS_WITH(nn::Linear(0, 1, rng), Catch::Contains("0 -> 1 features"));
  nn::BatchNorm2d bn(3);
  CHECK_THROWS_WITH(bn(zeros({1, 2, 1, 1})), Catch::Contains("expected [N, 3, H, W]"));
  CHECK_THROWS_WITH(bn(zeros({1, 3, 1, 1})), Catch::Contains("more than 1"));
}
