#include <cblas-openblas.h>

#include "bench/cases.h"
#include "bench/measure.h"
#include "tensor/factory.h"

namespace nibble::bench {

void register_openblas() {
  for (const int threads : {1, 2})
    for (const GemmShape& s : kGemmShapes)
      for (const bool transposed : {false, true})
        add(std::string("openblas/") + (transposed ? "sgemm_nt/" : "sgemm_nn/") + s.name(), threads, "GFLOPS",
            s.gflop(), [=]() -> std::function<void()> {
              openblas_set_num_threads(threads);
              Rng rng(1);
              const Tensor a = normal({s.m, s.k}, 0, 1, rng);
              const Tensor b = transposed ? normal({s.n, s.k}, 0, 1, rng) : normal({s.k, s.n}, 0, 1, rng);
              const Tensor c = normal({s.m, s.n}, 0, 1, rng);
              return [=, out = Tensor(c)]() mutable {
                cblas_sgemm(CblasRowMajor, CblasNoTrans, transposed ? CblasTrans : CblasNoTrans,
                            static_cast<int>(s.m), static_cast<int>(s.n), static_cast<int>(s.k), 1.0f,
                            a.data<float>(), static_cast<int>(s.k), b.data<float>(),
                            static_cast<int>(b.size(1)), 0.0f, out.mutable_data<float>(),
                            static_cast<int>(s.n));
              };
            });
}

}  // namespace nibble::bench
