#include "tensor/pool.h"

#include "bench/cases.h"
#include "bench/measure.h"
#include "tensor/factory.h"

namespace nibble::bench {

void register_pool() {
  for (const PoolCase& c : kPoolCases)
    for (const int threads : {1, 2}) {
      const auto images = [c](std::int64_t size) {
        Rng rng(1);
        return normal({c.c, size, size, c.n}, 0, 1, rng).permute({3, 0, 1, 2});
      };
      const std::string name = std::string("pool/") + c.name;
      add(name + "/fwd", threads, "GB/s", c.gigabytes(), [=] {
        const Tensor x = images(c.size);
        return [=] { benchmark::DoNotOptimize(max_pool2d(x, c.window).values); };
      });
      add(name + "/bwd", threads, "GB/s", c.gigabytes(), [=] {
        const Tensor x = images(c.size), grad = images(c.out()), indices = max_pool2d(x, c.window).indices;
        return [=] { benchmark::DoNotOptimize(max_pool2d_backward(grad, indices, x.shape(), c.window)); };
      });
    }
}

}  // namespace nibble::bench
