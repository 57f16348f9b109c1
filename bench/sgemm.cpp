#include "bench/measure.h"
#include "tensor/factory.h"
#include "tensor/gemm.h"

namespace nibble::bench {
namespace {

// NN: b is [k, n] row-major; NT: b is [n, k] row-major, used transposed; TN: a is [k, m] row-major.
enum class Form { nn, nt, tn };

std::function<void()> make_call(Form form, std::int64_t m, std::int64_t n, std::int64_t k) {
  Rng rng(1);
  const Tensor a = form == Form::tn ? normal({k, m}, 0, 1, rng) : normal({m, k}, 0, 1, rng);
  const Tensor b = form == Form::nt ? normal({n, k}, 0, 1, rng) : normal({k, n}, 0, 1, rng);
  Tensor c = normal({m, n}, 0, 1, rng);
  const MatrixRef<const float> ra{a.data<float>(), a.size(1), 1}, rb{b.data<float>(), b.size(1), 1};
  const MatrixRef<float> rc{c.mutable_data<float>(), n, 1};
  return [=, keep_c = c] {
    gemm(m, n, k, form == Form::tn ? ra.transposed() : ra, form == Form::nt ? rb.transposed() : rb, rc);
    benchmark::ClobberMemory();
    static_cast<void>(a), static_cast<void>(b), static_cast<void>(keep_c);
  };
}

}  // namespace

void register_sgemm() {
  // The shapes of the lab first: linear forward, its input gradient, its weight gradient, and convolutions
  // seen as products.
  constexpr std::int64_t kShapes[][3] = {
      {64, 10, 784},  {64, 784, 10},   {10, 784, 64},     {8, 50176, 9},      {16, 12544, 72},
      {64, 512, 512}, {512, 512, 512}, {256, 1024, 1024}, {1024, 1024, 1024}, {16, 4096, 4096}};
  constexpr struct {
    Form form;
    const char* name;
  } kForms[] = {{Form::nn, "sgemm_nn"}, {Form::nt, "sgemm_nt"}, {Form::tn, "sgemm_tn"}};
  for (const auto& form : kForms)
    for (const auto& [m, n, k] : kShapes)
      for (int threads : {1, 2}) {
        const std::string name = std::string(form.name) + "/m:" + std::to_string(m) +
                                 "/n:" + std::to_string(n) + "/k:" + std::to_string(k);
        add(name, threads, "GFLOPS", 2.0 * static_cast<double>(m * n * k),
            [which = form.form, m = m, n = n, k = k] { return make_call(which, m, n, k); });
      }
}

}  // namespace nibble::bench
