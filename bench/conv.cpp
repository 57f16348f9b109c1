#include "tensor/conv.h"

#include "bench/cases.h"
#include "bench/measure.h"
#include "tensor/factory.h"

namespace nibble::bench {
namespace {

// In the order in which training keeps images: the batch innermost.
Tensor random_images(const Shape& shape) {
  Rng rng(1);
  return normal({shape[1], shape[2], shape[3], shape[0]}, 0, 1, rng).permute({3, 0, 1, 2});
}

}  // namespace

void register_conv() {
  for (const ConvCase& c : kConvCases)
    for (const int threads : {1, 2}) {
      const Shape x_shape{c.n, c.c, c.size, c.size}, y_shape{c.n, c.k, c.out(), c.out()},
          w_shape{c.k, c.c / c.groups, c.window, c.window};
      const ConvOptions options = c.options();
      const std::string name = std::string("conv2d/") + c.name;
      add(name + "/fwd", threads, "GFLOPS", c.gflop(), [=] {
        Rng rng(2);
        const Tensor x = random_images(x_shape), w = normal(w_shape, 0, 1, rng),
                     b = normal({y_shape[1]}, 0, 1, rng);
        return [=] { benchmark::DoNotOptimize(conv2d(x, w, b, options)); };
      });
      add(name + "/bwd_data", threads, "GFLOPS", c.gflop(), [=] {
        Rng rng(2);
        const Tensor g = random_images(y_shape), w = normal(w_shape, 0, 1, rng);
        return [=] { benchmark::DoNotOptimize(conv2d_backward_input(g, w, x_shape, options)); };
      });
      add(name + "/bwd_weights", threads, "GFLOPS", c.gflop(), [=] {
        const Tensor g = random_images(y_shape), x = random_images(x_shape);
        return [=] {
          benchmark::DoNotOptimize(conv2d_backward_weight(g, x, w_shape, options));
          benchmark::DoNotOptimize(conv2d_backward_bias(g));
        };
      });
    }
}

}  // namespace nibble::bench
