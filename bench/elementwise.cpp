#include "tensor/elementwise.h"

#include "bench/measure.h"
#include "tensor/factory.h"
#include "tensor/reduce.h"
#include "tensor/softmax.h"

namespace nibble::bench {

void register_elementwise() {
  const auto add_unary = [](const char* name, Tensor (*f)(const Tensor&), double bytes_per_element) {
    for (std::int64_t n : {16384, 401408, 8388608})
      add("elementwise/" + std::string(name) + "/n:" + std::to_string(n), 1, "GB/s",
          1e-9 * bytes_per_element * static_cast<double>(n), [=] {
            Rng rng(1);
            const Tensor x = uniform({n}, 0.1, 2, rng);
            return [=] { benchmark::DoNotOptimize(f(x)); };
          });
  };
  add_unary("relu", relu, 8);
  add_unary("exp", exp, 8);
  add_unary("tanh", tanh, 8);
  add_unary(
      "add", [](const Tensor& x) { return nibble::add(x, x); }, 8);
  add_unary(
      "relu_backward", [](const Tensor& x) { return relu_backward(x, x); }, 8);
  add_unary(
      "sum", [](const Tensor& x) { return sum(x); }, 4);
  add_unary("abs_max", abs_max, 4);

  add("elementwise/channel_bias/n:64/c:8/hw:784", 1, "GB/s", 8e-9 * 64 * 8 * 784, [] {
    Rng rng(1);
    const Tensor x = normal({8, 28, 28, 64}, 0, 1, rng).permute({3, 0, 1, 2});
    const Tensor bias = normal({8, 1, 1}, 0, 1, rng);
    return [=] { benchmark::DoNotOptimize(nibble::add(x, bias)); };
  });
  add("elementwise/channel_sum/n:64/c:8/hw:784", 1, "GB/s", 4e-9 * 64 * 8 * 784, [] {
    Rng rng(1);
    const Tensor x = normal({8, 28, 28, 64}, 0, 1, rng).permute({3, 0, 1, 2});
    return [=] { benchmark::DoNotOptimize(sum(x, {0, 2, 3})); };
  });
  for (bool batch_innermost : {false, true})
    add(std::string("elementwise/softmax/n:64/c:10") + (batch_innermost ? "/batch_innermost" : ""), 1, "GB/s",
        8e-9 * 640, [=] {
          Rng rng(1);
          const Tensor x =
              batch_innermost ? normal({10, 64}, 0, 1, rng).transpose(0, 1) : normal({64, 10}, 0, 1, rng);
          return [=] { benchmark::DoNotOptimize(softmax(x, 1)); };
        });
}

}  // namespace nibble::bench
