#pragma once

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "autograd/ops_conv.h"
#include "autograd/ops_elementwise.h"
#include "autograd/ops_loss.h"
#include "autograd/ops_matmul.h"
#include "autograd/ops_pool.h"
#include "autograd/ops_reduce.h"
#include "autograd/ops_shape.h"
#include "tensor/factory.h"

namespace nibble::test {

// One differentiable operation on inputs of given shapes. The elements of an input are a shuffled grid over
// [low, high], each an odd multiple of 1/8192: exact in float32, and no two of them tie or sit on a kink.
struct OpCase {
  std::string name;  // as given to make_op
  std::vector<Shape> shapes;
  std::function<Variable(const std::vector<Variable>&)> call;
  double low = -2, high = 2;
  double tolerance = 1e-6;  // of float32 against float64, relative to the largest magnitude
};

inline std::vector<Tensor> inputs_of(const OpCase& op, Rng& rng) {
  std::vector<Tensor> inputs;
  for (const Shape& shape : op.shapes) {
    Tensor x = empty(shape, DType::float64);
    const auto values = x.mutable_values<double>();
    std::vector<double> grid(values.size());
    for (std::size_t i = 0; i < grid.size(); ++i) {
      const double at =
          op.low + (op.high - op.low) * (static_cast<double>(i) + 0.5) / static_cast<double>(grid.size());
      grid[i] = (std::floor(at * 4096) + 0.5) / 4096;
    }
    for (std::size_t i = grid.size(); i > 1; --i) std::swap(grid[i - 1], grid[rng.below(i)]);
    std::copy(grid.begin(), grid.end(), values.begin());
    inputs.push_back(x);
  }
  return inputs;
}

// Every operation that autograd/*.cpp passes to make_op has at least one row; a test compares the two lists.
inline const std::vector<OpCase>& op_cases() {
  using In = const std::vector<Variable>&;
  static const Tensor target = from_values<std::int64_t>({4}, {2, 0, 1, 2});
  static const std::vector<OpCase> cases = {
      {"add", {{3, 4}, {4}}, [](In v) { return add(v[0], v[1]); }},
      {"sub", {{2, 1, 4}, {3, 1}}, [](In v) { return sub(v[0], v[1]); }},
      {"mul", {{3, 4}, {3, 1}}, [](In v) { return mul(v[0], v[1]); }},
      {"mul", {{3, 4}}, [](In v) { return mul(v[0], v[0]); }},
      {"mul", {{3, 4}}, [](In v) { return v[0] * 1.5; }},
      {"div", {{3, 4}, {1, 4}}, [](In v) { return div(v[0], v[1]); }, 0.5, 2},
      {"div", {{3, 4}}, [](In v) { return (v[0] + 1.25) / (v[0] - 4.5); }},
      {"neg", {{17}}, [](In v) { return neg(v[0]); }},
      {"abs", {{17}}, [](In v) { return abs(v[0]); }},
      {"sqrt", {{17}}, [](In v) { return sqrt(v[0]); }, 0.5, 3},
      {"exp", {{17}}, [](In v) { return exp(v[0]); }},
      {"log", {{17}}, [](In v) { return log(v[0]); }, 0.5, 3},
      {"relu", {{3, 7}}, [](In v) { return relu(v[0]); }},
      {"sigmoid", {{17}}, [](In v) { return sigmoid(v[0]); }},
      {"tanh", {{17}}, [](In v) { return tanh(v[0]); }},
      {"sum",
       {{2, 3, 4}},
       [](In v) {
         return sum(v[0], {0, -1});
       }},
      {"sum", {{2, 3}}, [](In v) { return sum(v[0]); }},
      {"mean", {{2, 3, 4}}, [](In v) { return mean(v[0], {1}, true); }},
      {"max", {{3, 5}}, [](In v) { return max(v[0]); }},
      {"max_dim", {{3, 5, 2}}, [](In v) { return max(v[0], 1); }},
      {"matmul", {{3, 5}, {5, 2}}, [](In v) { return matmul(v[0], v[1]); }},
      {"matmul", {{2, 1, 3, 4}, {3, 4, 2}}, [](In v) { return matmul(v[0], v[1]); }},
      {"linear", {{4, 6}, {3, 6}, {3}}, [](In v) { return linear(v[0], v[1], v[2]); }},
      {"linear", {{2, 2, 5}, {3, 5}}, [](In v) { return linear(v[0], v[1]); }},
      {"conv2d",
       {{2, 1, 5, 6}, {3, 1, 3, 3}, {3}},
       [](In v) { return conv2d(v[0], v[1], v[2], {.padding = 1}); }},
      {"conv2d",
       {{17, 4, 5, 5}, {4, 2, 2, 3}},
       [](In v) {
         return conv2d(v[0], v[1], {}, {.stride = {2, 1}, .padding = {0, 1}, .dilation = 2, .groups = 2});
       }},
      {"conv2d_max_pool2d",
       {{8, 1, 5, 6}, {3, 1, 3, 3}, {3}},
       [](In v) { return conv2d_max_pool2d(v[0], v[1], v[2], {.padding = 1}, 2, {}); }},
      {"conv2d_max_pool2d",
       {{9, 2, 4, 5}, {2, 2, 2, 3}},
       [](In v) {
         return conv2d_max_pool2d(v[0], v[1], {}, {}, {1, 2}, {.relu = true});
       }},
      {"max_pool2d", {{2, 2, 4, 6}}, [](In v) { return max_pool2d(v[0], 2); }},
      {"max_pool2d", {{5, 1, 5, 5}}, [](In v) { return max_pool2d(v[0], 3, {.stride = 1, .padding = 1}); }},
      {"avg_pool2d", {{2, 1, 5, 5}}, [](In v) { return avg_pool2d(v[0], 3, {.stride = 2, .padding = 1}); }},
      {"adaptive_avg_pool2d",
       {{2, 2, 5, 4}},
       [](In v) {
         return adaptive_avg_pool2d(v[0], {2, 3});
       }},
      {"reshape",
       {{2, 6}},
       [](In v) {
         return reshape(v[0], {3, -1});
       }},
      {"reshape", {{2, 3, 4}}, [](In v) { return flatten(v[0], 1); }},
      {"permute",
       {{2, 3, 4}},
       [](In v) {
         return permute(v[0], {2, 0, 1});
       }},
      {"transpose", {{2, 3, 4}}, [](In v) { return transpose(v[0], 0, -1); }},
      {"narrow", {{5, 3}}, [](In v) { return narrow(v[0], 0, 1, 3); }},
      {"broadcast_to",
       {{3, 1}},
       [](In v) {
         return broadcast_to(v[0], {2, 3, 4});
       }},
      {"softmax", {{4, 5}}, [](In v) { return softmax(v[0], 1); }},
      {"softmax", {{4, 5, 2}}, [](In v) { return softmax(v[0], 0); }},
      {"log_softmax", {{4, 5}}, [](In v) { return log_softmax(v[0], 1); }},
      {"cross_entropy", {{4, 3}}, [](In v) { return cross_entropy(v[0], target); }},
      {"cross_entropy", {{4, 3}}, [](In v) { return cross_entropy(v[0], target, Reduction::sum); }},
      {"cross_entropy", {{4, 3}}, [](In v) { return cross_entropy(v[0], target, Reduction::none); }},
  };
  return cases;
}

}  // namespace nibble::test
