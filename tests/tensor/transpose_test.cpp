#include "tensor/kernels/transpose.h"

#include <vector>

#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;

TEST_CASE("transposition on every tier, of every awkward size", "[tiers]") {
  for (const Isa isa : supported_isas())
    for (std::size_t n = 0; n < 40; ++n)
      for (std::size_t k : {0, 1, 3, 4, 5, 7, 16, 33, 64, 65, 131}) {
        const std::size_t x_step = k + n % 3, out_step = n + k % 3;
        std::vector<float> x(n * x_step), out(k * out_step, -1), expected(out);
        for (std::size_t i = 0; i < x.size(); ++i) x[i] = static_cast<float>(i);
        for (std::size_t i = 0; i < n; ++i)
          for (std::size_t p = 0; p < k; ++p) expected[p * out_step + i] = x[i * x_step + p];
        transpose_kernels(isa).transpose(x.data(), x_step, n, k, out.data(), out_step);
        INFO(name_of(isa) << ' ' << n << "x" << k);
        CHECK(out == expected);
      }
}

TEST_CASE("a copy between layouts keeps every element") {
  Rng rng(1);
  for (const Shape& shape :
       {Shape{64, 8, 28, 28}, Shape{3, 2, 5, 7}, Shape{70, 1, 9, 11}, Shape{1, 1, 4, 1}}) {
    const Tensor x = normal(shape, 0, 1, rng);
    const Tensor inner = x.permute({1, 2, 3, 0}).clone().permute({3, 0, 1, 2});  // first dimension innermost
    CHECK(test::same_elements(inner, x));
    CHECK(test::same_elements(inner.contiguous(), x));
    CHECK(test::same_elements(inner.narrow(0, 0, shape[0] / 2 + 1).contiguous(),
                              x.narrow(0, 0, shape[0] / 2 + 1)));
    CHECK(test::same_elements(inner.narrow(2, 1, 2).contiguous(), x.narrow(2, 1, 2)));
  }
}
