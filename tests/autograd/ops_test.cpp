// What holds for every differentiable operation; the operations are the rows of tests/support/op_cases.h.

#include <filesystem>
#include <fstream>
#include <regex>
#include <set>

#include "autograd/gradcheck.h"
#include "autograd/node.h"
#include "tensor/elementwise.h"
#include "tensor/parallel.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"
#include "tests/support/op_cases.h"

using namespace nibble;
using test::op_cases;
using test::OpCase;

namespace {

struct Results {
  Tensor value;
  std::vector<Tensor> grads;
};

Results run(const OpCase& op, const std::vector<Tensor>& inputs) {
  std::vector<Variable> variables;
  for (const Tensor& x : inputs) variables.emplace_back(x, true);
  const Variable y = op.call(variables);
  // An upstream gradient that differs from element to element.
  Tensor upstream = empty(y.shape(), y.dtype());
  upstream.copy_from((arange(y.value().numel(), DType::float64) * 0.125 + 0.5).reshape(y.shape()));
  y.backward(upstream);
  Results results{y.value(), {}};
  for (const Variable& x : variables) results.grads.push_back(x.grad());
  return results;
}

void check_close(const Results& actual, const Results& expected, double tolerance) {
  CHECK(test::relative_error(actual.value, expected.value, 1) < tolerance);
  for (std::size_t i = 0; i < expected.grads.size(); ++i) {
    CHECK(actual.grads[i].shape() == expected.grads[i].shape());
    CHECK(test::relative_error(actual.grads[i], expected.grads[i], 1) < tolerance);
  }
}

std::vector<Tensor> map(const std::vector<Tensor>& inputs, const std::function<Tensor(const Tensor&)>& f) {
  std::vector<Tensor> result;
  for (const Tensor& x : inputs) result.push_back(f(x));
  return result;
}

// The same elements with the first dimension innermost in memory.
Tensor first_innermost(const Tensor& x) {
  if (x.rank() < 2) return x;
  Shape order = x.shape(), back = x.shape();
  for (int i = 0; i < x.rank(); ++i) {
    order[i] = (i + 1) % x.rank();
    back[i] = (i + x.rank() - 1) % x.rank();
  }
  return x.permute(order).clone().permute(back);
}

// A view into a larger tensor, at an odd offset.
Tensor with_gaps(const Tensor& x) {
  if (x.rank() == 0) return x;
  Shape shape = x.shape();
  shape[x.rank() - 1] += 3;
  Tensor view = full(shape, 1e30, x.dtype()).narrow(-1, 1, x.size(-1));
  view.copy_from(x);
  return view;
}

std::string read_text(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

// What the first group of `pattern` matches, at every place.
std::vector<std::string> matches(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  std::vector<std::string> result;
  for (std::sregex_iterator at(text.begin(), text.end(), regex), end; at != end; ++at)
    result.push_back((*at)[1]);
  return result;
}

}  // namespace

TEST_CASE("every operation that records a node has a row of test cases") {
  std::set<std::string> recorded, tested;
  for (const auto& entry : std::filesystem::directory_iterator(NIBBLE_SOURCE_DIR "/autograd")) {
    if (entry.path().filename().string().rfind("ops_", 0) != 0) continue;
    const std::string text = read_text(entry.path());
    const auto named = matches(text, "make_op\\(\\s*\"([a-z0-9_]+)\"");
    recorded.insert(named.begin(), named.end());
    INFO(entry.path().filename());
    CHECK(named.size() == matches(text, "(make_op)\\(").size());  // a computed name would escape this test
  }
  for (const OpCase& op : op_cases()) tested.insert(op.name);
  CHECK(recorded.size() > 20);
  CHECK(recorded == tested);
}

TEST_CASE("every function that the headers of the operations declare is called in a row") {
  const std::string table = read_text(NIBBLE_SOURCE_DIR "/tests/support/op_cases.h");
  int declared = 0;
  for (const auto& entry : std::filesystem::directory_iterator(NIBBLE_SOURCE_DIR "/autograd")) {
    const std::string file = entry.path().filename().string();
    if (file.rfind("ops_", 0) != 0 || entry.path().extension() != ".h") continue;
    for (const std::string& name : matches(read_text(entry.path()), "\nVariable ([a-z0-9_]+)\\(")) {
      if (name == "operator") continue;
      ++declared;
      INFO(file << " declares " << name);
      CHECK(table.find(" " + name + "(v[0]") != std::string::npos);
    }
  }
  CHECK(declared > 20);
}

TEST_CASE("gradients agree with central differences in float64") {
  for (const OpCase& op : op_cases()) {
    INFO(op.name);
    Rng rng(11);
    CHECK_NOTHROW(gradcheck(op.call, test::inputs_of(op, rng)));
  }
}

TEST_CASE("gradcheck notices a wrong gradient") {
  const auto wrong = [](const std::vector<Variable>& v) {
    return make_op("wrong", v[0].value(), {v[0]},
                   [](const Tensor& g, const Needs&) -> Grads { return {g * 1.00001}; });
  };
  CHECK_THROWS_WITH(gradcheck(wrong, {ones({2}, DType::float64)}), Catch::Contains("input 0, element 0"));
}

TEST_CASE("float32 agrees with float64 in every layout") {
  for (const OpCase& op : op_cases()) {
    INFO(op.name);
    Rng rng(12);
    const auto inputs = test::inputs_of(op, rng);
    const Results expected = run(op, inputs);
    const auto narrowed = map(inputs, [](const Tensor& x) { return x.to(DType::float32); });
    check_close(run(op, narrowed), expected, op.tolerance);
    check_close(run(op, map(narrowed, first_innermost)), expected, op.tolerance);
    check_close(run(op, map(narrowed, with_gaps)), expected, op.tolerance);
    check_close(run(op, map(inputs, with_gaps)), expected, 1e-14);
  }
}

TEST_CASE("same bits for one and two threads") {
  const int before = num_threads();
  std::vector<OpCase> cases = op_cases();
  // Those of the table are small enough to check their gradients by differences, and so stay below a grain of
  // parallel_for; these have several.
  const Tensor targets = empty({3000}, DType::int64);
  for (std::int64_t i = 0; i < targets.numel(); ++i)
    Tensor(targets).mutable_data<std::int64_t>()[i] = i * 7 % 12;
  using In = const std::vector<Variable>&;
  const std::vector<OpCase> large = {
      {"conv2d",
       {{40, 3, 12, 12}, {8, 3, 3, 3}, {8}},
       [](In v) { return conv2d(v[0], v[1], v[2], {.padding = 1}); }},
      {"conv2d_max_pool2d",
       {{40, 3, 12, 12}, {8, 3, 3, 3}, {8}},
       [](In v) { return conv2d_max_pool2d(v[0], v[1], v[2], {.padding = 1}, 2, {.relu = true}); }},
      {"max_pool2d", {{64, 4, 16, 16}}, [](In v) { return max_pool2d(v[0], 2); }},
      {"max_pool2d",
       {{64, 4, 16, 16}},
       [](In v) { return max_pool2d(v[0], 3, {.stride = 1, .padding = 1}); }},
      {"max_pool2d",
       {{4, 16, 8, 64}},
       [](In v) {
         return max_pool2d(permute(v[0], {3, 0, 1, 2}), 2, {.relu = true});
       }},
      {"softmax", {{3000, 12}}, [](In v) { return softmax(v[0], 1); }},
      {"softmax", {{12, 3000}}, [](In v) { return softmax(v[0], 0); }},
      {"log_softmax", {{3000, 12}}, [](In v) { return log_softmax(v[0], 1); }},
      {"cross_entropy", {{3000, 12}}, [=](In v) { return cross_entropy(v[0], targets); }},
      {"cross_entropy", {{3000, 12}}, [=](In v) { return cross_entropy(v[0], targets, Reduction::none); }},
  };
  cases.insert(cases.end(), large.begin(), large.end());
  for (const OpCase& op : cases) {
    INFO(op.name);
    Rng rng(13);
    const auto inputs = map(test::inputs_of(op, rng), [](const Tensor& x) { return x.to(DType::float32); });
    set_num_threads(1);
    const Results one = run(op, inputs);
    set_num_threads(2);
    const Results two = run(op, inputs);
    CHECK(test::same_elements(one.value, two.value));
    for (std::size_t i = 0; i < one.grads.size(); ++i) CHECK(test::same_elements(one.grads[i], two.grads[i]));
  }
  set_num_threads(before);
}

TEST_CASE("an empty batch goes through") {
  for (const OpCase& op : op_cases()) {
    if (op.name == "max" || op.name == "max_dim" || op.name == "mean" || op.name == "cross_entropy" ||
        op.name == "reshape" || op.name == "narrow" || op.name == "broadcast_to" || op.shapes[0].rank() < 2)
      continue;
    INFO(op.name);
    Rng rng(14);
    auto inputs = map(test::inputs_of(op, rng), [](const Tensor& x) { return x.to(DType::float32); });
    const bool batched_pair = op.name == "add" || op.name == "sub" || op.name == "mul" || op.name == "div";
    if (batched_pair) {
      inputs = {zeros({0, 4})};
      if (op.shapes.size() > 1) inputs.push_back(zeros({1, 4}));
    } else {
      inputs[0] = inputs[0].narrow(0, 0, 0);
    }
    const Results results = run(op, inputs);
    CHECK(results.grads[0].numel() == 0);
    for (std::size_t i = 1; i < inputs.size(); ++i)
      CHECK(test::relative_error(results.grads[i], zeros(inputs[i].shape())) == 0);
  }
}

TEST_CASE("operations that move or select elements keep the annotation, others drop it") {
  struct Mark : Annotation {};
  const auto mark = std::make_shared<Mark>();
  const std::set<std::string> keeping = {"max_pool2d", "reshape", "permute", "transpose", "narrow"};
  for (const OpCase& op : op_cases()) {
    INFO(op.name);
    Rng rng(15);
    std::vector<Variable> inputs;
    for (const Tensor& x : test::inputs_of(op, rng))
      inputs.push_back(Variable(x, true).with_annotation(mark));
    CHECK((op.call(inputs).annotation() == mark) == (keeping.count(op.name) == 1));
  }
}

TEST_CASE("cross_entropy names a target that is no class") {
  const Variable logits(zeros({2, 3}));
  CHECK_THROWS_WITH(cross_entropy(logits, from_values<std::int64_t>({2}, {0, 3})),
                    "cross_entropy: target 1 is 3, expected 0 to 2");
}
