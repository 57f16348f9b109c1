#include <algorithm>
#include <nlohmann/json.hpp>

#include "apps/profile/op_cost.h"
#include "apps/profile/step_profile.h"
#include "autograd/no_grad.h"
#include "autograd/ops_conv.h"
#include "autograd/ops_matmul.h"
#include "autograd/ops_reduce.h"
#include "tensor/factory.h"
#include "tests/apps/cli_support.h"
#include "tests/support/catch.h"

using namespace nibble;

TEST_CASE("the cost of a product is its multiply-adds and its operands") {
  const Variable x(zeros({4, 3, 10, 10})), weight(zeros({8, 3, 3, 3}), true), bias(zeros({8}), true);
  const std::vector<Variable> inputs{x, weight, bias};
  const Tensor out = zeros({4, 8, 8, 8});
  const double products = 2.0 * 2048 * 27;
  const OpCost forward = forward_cost("conv2d", inputs, out), backward = backward_cost("conv2d", inputs, out);
  CHECK(forward.flops == products + 2048);
  CHECK(forward.bytes == 4 * (1200 + 216 + 8 + 2048));
  CHECK(backward.flops == products + 2048);  // x wants no gradient
  CHECK(backward.bytes == 4 * (2048 + 216 + 1200 + 8));
  // Pooled at once: the products are those of the convolution, whose result is no operand.
  const Tensor pooled = zeros({4, 8, 4, 4});
  const OpCost fused = forward_cost("conv2d_max_pool2d", inputs, pooled, out.numel());
  CHECK(fused.flops == products + 2048 + 2048);
  CHECK(fused.bytes == 4 * (1200 + 216 + 8 + 512));
  CHECK(backward_cost("conv2d_max_pool2d", inputs, pooled, out.numel()).flops == products + 2048 + 2048);
  const std::vector<Variable> rows{Variable(zeros({5, 7}), true), Variable(zeros({3, 7}), true)};
  CHECK(forward_cost("linear", rows, zeros({5, 3})).flops == 2 * 5 * 3 * 7);
  CHECK(backward_cost("linear", rows, zeros({5, 3})).flops == 2 * 2 * 5 * 3 * 7);
  CHECK(forward_cost("relu", std::vector<Variable>{x}, x.value()).bytes == 8 * 1200);
}

TEST_CASE("a profile charges every operation of a step, forward and backward, to its place") {
  const Variable w(ones({3, 3}), true);
  StepProfile profile;
  CHECK_THROWS_AS(StepProfile(), std::logic_error);
  for (int step = 0; step < 2; ++step) {
    sum(matmul(matmul(Variable(ones({2, 3})), w), w)).backward();
    profile.mark("rest");
    profile.end_step();
  }
  std::vector<std::string> seen;
  for (const StepProfile::Row& row : profile.rows()) {
    seen.push_back(row.name + " " + row.phase);
    CHECK(row.calls == 2);
    CHECK(row.seconds > 0);
  }
  CHECK(seen == std::vector<std::string>{"matmul forward", "matmul backward", "matmul forward",
                                         "matmul backward", "sum forward", "sum backward", "rest -"});
  CHECK(profile.rows()[0].shapes == "2x3 3x3 -> 2x3");
  const NoGrad no_grad;
  sum(w);
  CHECK(profile.rows().back().name == "sum");  // its place is another one, and it has no backward
  CHECK(profile.rows().size() == 8);
}

TEST_CASE("profile train: a table, and the same in JSON") {
  const test::Workspace workspace;
  const std::string json = workspace.file("profile.json");
  const test::Outcome outcome =
      test::nibble_program({"profile", "train", "--steps", "3", "--warm-up", "1", "--batch-size", "4",
                            "--act-bits", "4", "--weight-bits", "4", "--threads", "1", "--json", json});
  REQUIRE(outcome.code == 0);
  CHECK(outcome.err.empty());
  // What takes little of these few steps is summed up in the table; JSON has every operation.
  for (const char* word : {"conv2d", "backward", "GFLOP/s", "bound by", "step"})
    CHECK(outcome.out.find(word) != std::string::npos);
  const auto document = nlohmann::json::parse(test::read_text(json));
  double sum = 0;
  int convolutions = 0;
  for (const char* name : {"fake_quantize", "load, augment"})
    CHECK(std::any_of(document["rows"].begin(), document["rows"].end(),
                      [&](const auto& row) { return row["name"] == name; }));
  for (const auto& row : document["rows"]) {
    sum += row["seconds"].get<double>();
    convolutions += row["name"] == "conv2d";
  }
  CHECK(convolutions == 4);
  CHECK(sum == Approx(document["seconds_per_step"].get<double>()));
  CHECK(document["peak_flops_per_second"].get<double>() > 0);
  test::check_fails(test::nibble_program({"profile", "train", "--steps", "0"}), "--steps");
  test::check_fails(test::nibble_program({"profile", "train", "--act-bits", "0"}), "--act-bits");
  test::check_fails(test::nibble_program({"profile", "train", "--json", "/nowhere/x.json"}),
                    "/nowhere/x.json");
  test::check_fails(test::nibble_program({"profile"}), "subcommand");
}
