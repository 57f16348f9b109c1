#include "tensor/reduce.h"

#include <cmath>
#include <limits>

#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"
#include "tests/support/catch.h"

using namespace nibble;

namespace {

// Sums of small integers are exact in float32, whatever the order of addition.
Tensor integers(const Shape& shape, Rng& rng) { return round(uniform(shape, -8, 8, rng)); }

Tensor naive_sum(const Tensor& x, int dim) {
  Tensor total = zeros(x.shape().erased(dim), x.dtype());
  for (std::int64_t i = 0; i < x.size(dim); ++i) total = add(total, x.select(dim, i));
  return total;
}

bool same(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && sum(equal(a, b).to(DType::int64)).item() == static_cast<double>(a.numel());
}

}  // namespace

TEST_CASE("sum over any set of dimensions of any layout") {
  Rng rng(1);
  const Tensor block = integers({5, 3, 18, 4}, rng);
  for (const Shape& order : {Shape{0, 1, 2, 3}, Shape{3, 0, 1, 2}, Shape{2, 1, 3, 0}})
    for (const Tensor& x : {block.permute(order), block.narrow(2, 1, 17).permute(order)})
      for (DType dtype : {DType::float32, DType::float64, DType::int32}) {
        const Tensor typed = dtype == DType::float32 ? x : x.to(dtype);
        for (unsigned mask = 1; mask < 16; ++mask) {
          std::vector<int> dims;
          Tensor expected = typed;
          for (int d = 3; d >= 0; --d)
            if (mask >> d & 1u) {
              dims.push_back(d);
              expected = naive_sum(expected, d);
            }
          INFO(x.shape() << " strides " << x.strides() << " mask " << mask << ' ' << dtype);
          CHECK(same(sum(typed, dims), expected));
          Shape kept = typed.shape();
          for (const int d : dims) kept[d] = 1;
          CHECK(same(sum(typed, dims, true), expected.reshape(kept)));
        }
      }
  CHECK(sum(block, {-1, 0}, true).shape() == Shape{1, 3, 18, 1});
  CHECK(same(sum(ones({1}).broadcast_to({300, 70}), {0}), full({70}, 300)));
}

TEST_CASE("long sums are accurate and do not depend on the thread count") {
  Rng rng(2);
  const int threads = num_threads();
  for (const Shape& shape : {Shape{300001, 1}, Shape{7, 50021}, Shape{30000, 10}}) {
    const Tensor x = uniform(shape, 0, 1, rng);
    for (const Tensor& view : {x, x.transpose(0, 1)})
      for (int dim : {0, 1}) {
        set_num_threads(1);
        const Tensor one = sum(view, {dim}), all = sum(view);
        set_num_threads(3);
        CHECK(same(sum(view, {dim}), one));
        CHECK(same(sum(view), all));
        const Tensor exact = sum(view.to(DType::float64), {dim});
        CHECK(abs_max(div(sub(one.to(DType::float64), exact), exact)).item() < 2e-6);
        CHECK(all.item() == Approx(sum(x.to(DType::float64)).item()).epsilon(1e-7));
      }
  }
  set_num_threads(threads);
}

TEST_CASE("reductions of nothing") {
  CHECK(sum(zeros({0, 3})).item() == 0);
  CHECK(same(sum(zeros({0, 3}), {0}), zeros({3})));
  CHECK(sum(zeros({0, 3}), {1}).shape() == Shape{0});
  CHECK(std::isnan(mean(zeros({0})).item()));
  CHECK(abs_max(zeros({0})).item() == 0);
  CHECK_THROWS_AS(max(zeros({0})), std::invalid_argument);
  CHECK_THROWS_AS(min(zeros({0})), std::invalid_argument);
  CHECK_THROWS_AS(max(zeros({3, 0}), 1), std::invalid_argument);
  CHECK(max(zeros({0, 3}), 1).indices.shape() == Shape{0});
}

TEST_CASE("mean divides by what was reduced") {
  const Tensor x = arange(24, DType::float32).reshape({2, 3, 4});
  CHECK(mean(x).item() == 11.5);
  CHECK(same(mean(x, {0, 2}), from_values<float>({3}, {7.5, 11.5, 15.5})));
  CHECK(same(mean(x, {0, 2}, true), from_values<float>({1, 3, 1}, {7.5, 11.5, 15.5})));
  CHECK_THROWS_AS(mean(arange(3)), std::invalid_argument);
}

TEST_CASE("max along a dimension gives the first maximum") {
  const Tensor x = from_values<float>({2, 4}, {1, 5, 5, 2, -3, -7, -3, -9});
  const MaxResult rows = max(x, 1);
  CHECK(same(rows.values, from_values<float>({2}, {5, -3})));
  CHECK(same(rows.indices, from_values<std::int64_t>({2}, {1, 0})));
  CHECK(same(argmax(x.transpose(0, 1), 0), rows.indices));
  const MaxResult kept_columns = max(x, 0, true), kept_rows = max(x, 1, true);
  CHECK(same(kept_columns.values, from_values<float>({1, 4}, {1, 5, 5, 2})));
  CHECK(same(kept_columns.indices, from_values<std::int64_t>({1, 4}, {0, 0, 0, 0})));
  CHECK(same(kept_rows.values, rows.values.reshape({2, 1})));
  CHECK(same(kept_rows.indices, rows.indices.reshape({2, 1})));
  CHECK(same(argmax(x, 0), from_values<std::int64_t>({4}, {0, 0, 0, 0})));
}

TEST_CASE("extrema over all elements, at every position, of every layout") {
  Rng rng(3);
  for (std::int64_t n : {1, 3, 15, 16, 17, 48, 130, 40000})
    for (std::int64_t at : {std::int64_t{0}, n / 2, n - 1}) {
      Tensor x = uniform({n}, -1, 1, rng);
      x.mutable_values<float>()[static_cast<std::size_t>(at)] = 2;
      CHECK(max(x).item() == 2);
      CHECK(min(neg(x)).item() == -2);
      CHECK(abs_max(neg(x)).item() == 2);
      CHECK(max(x.to(DType::float64)).item() == 2);
      x.mutable_values<float>()[static_cast<std::size_t>(at)] = std::numeric_limits<float>::quiet_NaN();
      CHECK(std::isnan(max(x).item()));
      CHECK(std::isnan(min(x).item()));
      CHECK(std::isnan(abs_max(x).item()));
    }
  const Tensor block = normal({40, 30, 20}, 0, 1, rng);
  const Tensor view = block.narrow(2, 3, 11).permute({2, 0, 1});
  CHECK(max(view).item() == max(view.clone()).item());
  CHECK(max(block.select(2, 3)).item() == max(block.select(2, 3).clone()).item());
  CHECK(max(full({3}, -5, DType::int8)).item() == -5);
}

TEST_CASE("sum_to undoes a broadcast") {
  const Tensor x = ones({2, 3, 4});
  CHECK(same(sum_to(x, {3, 1}), full({3, 1}, 8)));
  CHECK(same(sum_to(x, {4}), full({4}, 6)));
  CHECK(same(sum_to(x, {}), full({}, 24)));
  CHECK(same(sum_to(x, {1, 3, 4}), full({1, 3, 4}, 2)));
  CHECK_THROWS_AS(sum_to(x, {2, 1}), std::invalid_argument);
}
