#include "bench/cases.h"
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

std::function<void()> make_packed_call(const GemmShape& s) {
  Rng rng(1);
  const Tensor a = normal({s.m, s.k}, 0, 1, rng), b = normal({s.k, s.n}, 0, 1, rng);
  Tensor c = normal({s.m, s.n}, 0, 1, rng);
  const PackedB packed(s.k, s.n, {b.data<float>(), s.n, 1});
  const MatrixRef<float> result{c.mutable_data<float>(), s.n, 1};
  return [=, keep_c = c] {
    gemm(s.m, {a.data<float>(), s.k, 1}, packed, result);
    benchmark::ClobberMemory();
    static_cast<void>(keep_c);
  };
}

}  // namespace

void register_sgemm() {
  constexpr struct {
    Form form;
    const char* name;
  } kForms[] = {{Form::nn, "sgemm_nn/"}, {Form::nt, "sgemm_nt/"}, {Form::tn, "sgemm_tn/"}};
  for (const auto& form : kForms)
    for (const GemmShape& s : kGemmShapes)
      for (const int threads : {1, 2})
        add(form.name + s.name(), threads, "GFLOPS", s.gflop(),
            [which = form.form, s] { return make_call(which, s.m, s.n, s.k); });
  for (const GemmShape& s : kGemmShapes)
    for (const int threads : {1, 2})
      add("sgemm_packed/" + s.name(), threads, "GFLOPS", s.gflop(), [s] { return make_packed_call(s); });
}

}  // namespace nibble::bench
