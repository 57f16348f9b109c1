#include "quant/quickselect.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "quant/kernels/order_keys.h"
#include "tensor/random.h"
#include "tests/support/catch.h"

using namespace nibble;
using namespace nibble::quant;

namespace {

// Numerical Recipes, section 8.5, element by element: the index of the k-th smallest of n by less(i, j).
template <class Less>
std::int64_t plain_quickselect(std::size_t n, std::size_t k, Less less) {
  std::vector<std::size_t> at(n);
  std::iota(at.begin(), at.end(), std::size_t{0});
  const auto order = [&](std::size_t i, std::size_t j) {
    if (less(at[j], at[i])) std::swap(at[i], at[j]);
  };
  std::size_t left = 0, right = n - 1;
  while (right > left + 1) {
    std::swap(at[(left + right) / 2], at[left + 1]);
    order(left + 1, right);
    order(left, right);
    order(left + 1, left);
    const std::size_t pivot = at[left];
    std::size_t i = left + 1, j = right;
    for (;;) {
      do ++i;
      while (less(at[i], pivot));
      do --j;
      while (less(pivot, at[j]));
      if (j < i) break;
      std::swap(at[i], at[j]);
    }
    std::swap(at[left], at[j]);
    if (j <= k) left = i;
    if (j >= k) right = j - 1;
  }
  if (right == left + 1) order(left, right);
  return static_cast<std::int64_t>(at[k]);
}

// The same of these values, after Quickselect has found it.
bool agree(const std::vector<std::int32_t>& values, std::size_t k) {
  Quickselect selection(static_cast<std::int64_t>(values.size()));
  std::copy(values.begin(), values.end(), selection.keys().begin());
  return selection.index_of_smallest(static_cast<std::int64_t>(k)) ==
         plain_quickselect(values.size(), k, [&](auto i, auto j) { return values[i] < values[j]; });
}

// Values that make every pivot one of the smallest left: each is fixed no sooner than a comparison asks
// (McIlroy, "A killer adversary for quicksort", 1999).
std::vector<std::int32_t> worst_case(std::size_t n) {
  const auto open = static_cast<std::int32_t>(n);
  std::vector<std::int32_t> values(n, open);
  std::int32_t next = 0;
  std::size_t candidate = 0;
  plain_quickselect(n, n - 1, [&](std::size_t i, std::size_t j) {
    if (values[i] == open && values[j] == open) values[i == candidate ? i : j] = next++;
    if (values[i] == open) candidate = i;
    if (values[j] == open) candidate = j;
    return values[i] < values[j];
  });
  return values;
}

}  // namespace

TEST_CASE("quickselect by masks picks the element that the plain algorithm picks, ties included", "[tiers]") {
  Rng rng(3);
  for (const std::size_t n : {1, 2, 3, 10, 255, 256, 257, 258, 300, 1000, 5000, 60000})
    for (const std::uint64_t distinct : {1, 2, 3, 16, 1000, 1 << 30}) {
      std::vector<std::int32_t> values(n);
      // Half of them zero, as behind a ReLU.
      for (auto& v : values)
        v = rng.below(2) == 0 ? 0 : static_cast<std::int32_t>(rng.below(static_cast<std::size_t>(distinct)));
      if (n % 2 == 0) std::sort(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(n / 2));
      for (const std::size_t k : {std::size_t{0}, n / 3, n / 2, n - 1 - n / 1000, n - 1}) {
        INFO(n << " keys, " << distinct << " distinct, k = " << k);
        CHECK(agree(values, k));
      }
    }
  const std::vector<std::int32_t> worst = worst_case(5000);
  for (const std::size_t k : {0, 2500, 4999}) CHECK(agree(worst, k));
}

TEST_CASE("keys order elements as their values are ordered, NaN last, on every tier", "[tiers]") {
  const float inf = std::numeric_limits<float>::infinity(), tiny = std::numeric_limits<float>::denorm_min();
  const std::vector<float> ascending = {-inf, -3e38f, -2, -1,    -tiny, 0,
                                        tiny, 0.5f,   1,  3e38f, inf,   std::nanf("")};
  std::vector<float> x;
  Rng rng(4);
  for (int i = 0; i < 100; ++i) x.push_back(ascending[rng.below(ascending.size())]);
  x.push_back(-0.0f);
  const auto rank = [](OrderBy by, float v) {
    const double above = std::numeric_limits<double>::infinity();
    const double number = std::clamp(double{v}, -1e300, 1e300);
    if (std::isnan(v)) return above;
    const double magnitude = std::fabs(number);
    return by == OrderBy::magnitude ? magnitude : by == OrderBy::positive ? std::max(0.0, number) : number;
  };
  for (const Isa isa : supported_isas())
    for (const OrderBy by : {OrderBy::magnitude, OrderBy::positive, OrderBy::value})
      for (const std::int64_t begin : {0, 1, 37}) {
        const auto n = static_cast<std::int64_t>(x.size());
        std::vector<std::int32_t> keys(x.size());
        order_key_kernels(isa).keys(by, x.data() + begin, n - begin, keys.data() + begin);
        bool same = true;
        for (auto i = static_cast<std::size_t>(begin); i < x.size(); ++i)
          for (auto j = static_cast<std::size_t>(begin); j < x.size(); ++j)
            same &= (keys[i] < keys[j]) == (rank(by, x[i]) < rank(by, x[j]));
        INFO(name_of(isa) << ' ' << static_cast<int>(by) << " from " << begin);
        CHECK(same);
      }
}
