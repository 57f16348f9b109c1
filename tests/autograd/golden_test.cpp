// Values and gradients that PyTorch computed (tests/golden/torch_ops_*.safetensors).

#include "tests/support/golden.h"
#include "tensor/reduce.h"
#include "tests/support/catch.h"
#include "tests/support/op_cases.h"

using namespace nibble;
using test::Golden;

namespace {

constexpr double kTolerance = 1e-5;  // of the largest magnitude in the tensor

void check(const Golden& golden, int i, const std::string& name, const Tensor& actual) {
  INFO(name);
  CHECK(test::relative_error(actual, golden.tensor(i, name)) <= kTolerance);
}

Size2 pair(const Golden& golden, int i, const std::string& name) {
  const auto values = golden.list(i, name);
  return values.size() == 1 ? Size2(values[0]) : Size2(values[0], values.at(1));
}

PoolOptions pool_options(const Golden& golden, int i) {
  PoolOptions o;
  o.stride = pair(golden, i, "stride");
  o.padding = pair(golden, i, "padding");
  o.ceil_mode = golden.flag(i, "ceil_mode");
  return o;
}

}  // namespace

TEST_CASE("golden: conv2d and linear") {
  for (const char* op : {"conv2d", "linear"}) {
    const Golden golden(std::string("torch_ops_") + op);
    const bool conv = std::string(op) == "conv2d";
    for (int i = 0; i < golden.cases(); ++i) {
      INFO(op << " case " << i);
      Variable x(golden.tensor(i, "x"), true), w(golden.tensor(i, "w"), true), b;
      if (golden.flag(i, "bias")) b = Variable(golden.tensor(i, "b"), true);
      Variable y;
      if (conv) {
        ConvOptions o{pair(golden, i, "stride"), pair(golden, i, "padding"), pair(golden, i, "dilation"), 1};
        o.groups = golden.list(i, "groups").at(0);
        y = conv2d(x, w, b, o);
      } else {
        y = linear(x, w, b);
      }
      check(golden, i, "y", y.value());
      y.backward(golden.tensor(i, "grad_y"));
      check(golden, i, "grad_x", x.grad());
      check(golden, i, "grad_w", w.grad());
      if (b.defined()) check(golden, i, "grad_b", b.grad());
    }
  }
}

TEST_CASE("golden: max_pool2d") {
  const Golden golden("torch_ops_max_pool2d");
  for (int i = 0; i < golden.cases(); ++i) {
    INFO("case " << i);
    PoolOptions o = pool_options(golden, i);
    o.dilation = pair(golden, i, "dilation");
    const Size2 kernel = pair(golden, i, "kernel");
    Variable x(golden.tensor(i, "x"), true);
    const Variable y = max_pool2d(x, kernel, o);
    check(golden, i, "y", y.value());
    CHECK(test::same_elements(max_pool2d(x.value(), kernel, o).indices, golden.tensor(i, "index")));
    y.backward(golden.tensor(i, "grad_y"));
    check(golden, i, "grad_x", x.grad());
  }
}

TEST_CASE("golden: avg_pool2d") {
  const Golden golden("torch_ops_avg_pool2d");
  for (int i = 0; i < golden.cases(); ++i) {
    INFO("case " << i);
    Variable x(golden.tensor(i, "x"), true);
    Variable y;
    if (golden.has_meta("case" + std::to_string(i) + ".count_include_pad")) {
      PoolOptions o = pool_options(golden, i);
      o.count_include_pad = golden.flag(i, "count_include_pad");
      y = avg_pool2d(x, pair(golden, i, "kernel"), o);
    } else {
      const Shape shape = golden.tensor(i, "y").shape();
      y = adaptive_avg_pool2d(x, {shape[2], shape[3]});
    }
    check(golden, i, "y", y.value());
    y.backward(golden.tensor(i, "grad_y"));
    check(golden, i, "grad_x", x.grad());
  }
}

TEST_CASE("golden: activations") {
  const Golden golden("torch_ops_activation");
  for (int i = 0; i < golden.cases(); ++i) {
    const std::string op = golden.meta(i, "op");
    INFO("case " << i << " " << op);
    Variable x(golden.tensor(i, "x"), true);
    const int dim = op == "softmax" || op == "log_softmax" ? static_cast<int>(golden.list(i, "dim")[0]) : 0;
    const Variable y = op == "relu"          ? relu(x)
                       : op == "sigmoid"     ? sigmoid(x)
                       : op == "tanh"        ? tanh(x)
                       : op == "softmax"     ? softmax(x, dim)
                       : op == "log_softmax" ? log_softmax(x, dim)
                                             : throw std::runtime_error("unknown activation " + op);
    check(golden, i, "y", y.value());
    y.backward(golden.tensor(i, "grad_y"));
    check(golden, i, "grad_x", x.grad());
  }
}

TEST_CASE("golden: cross_entropy, on logits and on softmax") {
  const Golden golden("torch_ops_cross_entropy");
  for (int i = 0; i < golden.cases(); ++i) {
    INFO("case " << i);
    Variable x(golden.tensor(i, "x"), true);
    const Reduction reduction = golden.meta(i, "reduction") == "mean" ? Reduction::mean : Reduction::sum;
    const Variable input = golden.meta(i, "on") == "softmax" ? softmax(x, 1) : x;
    const Variable loss = cross_entropy(input, golden.tensor(i, "target"), reduction);
    check(golden, i, "loss", loss.value());
    loss.backward(golden.has(i, "grad_y") ? golden.tensor(i, "grad_y") : Tensor());
    check(golden, i, "grad_x", x.grad());
  }
}

TEST_CASE("golden: broadcasting arithmetic and matmul") {
  for (const char* file : {"torch_ops_broadcast", "torch_ops_matmul"}) {
    const Golden golden(file);
    for (int i = 0; i < golden.cases(); ++i) {
      const std::string op = std::string(file) == "torch_ops_matmul" ? "matmul" : golden.meta(i, "op");
      INFO(op << " case " << i);
      Variable a(golden.tensor(i, "a"), true), b(golden.tensor(i, "b"), true);
      const Variable y = op == "add"      ? add(a, b)
                         : op == "sub"    ? sub(a, b)
                         : op == "mul"    ? mul(a, b)
                         : op == "div"    ? div(a, b)
                         : op == "matmul" ? matmul(a, b)
                                          : throw std::runtime_error("unknown operation " + op);
      check(golden, i, "y", y.value());
      y.backward(golden.tensor(i, "grad_y"));
      check(golden, i, "grad_a", a.grad());
      check(golden, i, "grad_b", b.grad());
    }
  }
}

TEST_CASE("golden: reductions") {
  const Golden golden("torch_ops_reduce");
  for (int i = 0; i < golden.cases(); ++i) {
    const std::string op = golden.meta(i, "op"), dim = golden.meta(i, "dim");
    INFO(op << " case " << i << " over " << dim);
    const bool keepdim =
        golden.has_meta("case" + std::to_string(i) + ".keepdim") && golden.flag(i, "keepdim");
    std::vector<int> dims;
    if (dim != "all")
      for (std::int64_t d : golden.list(i, "dim")) dims.push_back(static_cast<int>(d));
    Variable x(golden.tensor(i, "x"), true);
    const Variable y = op == "sum"    ? sum(x, dims, keepdim)
                       : op == "mean" ? mean(x, dims, keepdim)
                       : dims.empty() ? max(x)
                                      : max(x, dims[0], keepdim);
    check(golden, i, "y", y.value());
    if (golden.has(i, "index"))
      CHECK(test::same_elements(max(x.value(), dims.at(0), keepdim).indices, golden.tensor(i, "index")));
    y.backward(golden.tensor(i, "grad_y"));
    check(golden, i, "grad_x", x.grad());
  }
}
