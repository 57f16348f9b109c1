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

// Numerical Recipes, section 8.5, element by element.
std::int32_t plain_quickselect(std::vector<std::int32_t> key, std::size_t k) {
  std::vector<std::int32_t> origin(key.size());
  std::iota(origin.begin(), origin.end(), 0);
  const auto swap = [&](std::size_t i, std::size_t j) {
    std::swap(key[i], key[j]);
    std::swap(origin[i], origin[j]);
  };
  std::size_t left = 0, right = key.size() - 1;
  for (;;) {
    if (right <= left) return origin[k];
    if (right == left + 1) {
      if (key[left] > key[right]) swap(left, right);
      return origin[k];
    }
    swap((left + right) / 2, left + 1);
    if (key[left + 1] > key[right]) swap(left + 1, right);
    if (key[left] > key[right]) swap(left, right);
    if (key[left + 1] > key[left]) swap(left + 1, left);
    const std::int32_t pivot = key[left];
    std::size_t i = left + 1, j = right;
    for (;;) {
      do ++i;
      while (key[i] < pivot);
      do --j;
      while (key[j] > pivot);
      if (j < i) break;
      swap(i, j);
    }
    swap(left, j);
    if (j <= k) left = i;
    if (j >= k) right = j - 1;
  }
}

}  // namespace

TEST_CASE("quickselect by blocks picks the element that the plain algorithm picks, ties included") {
  Rng rng(3);
  for (const std::size_t n : {1, 2, 3, 10, 255, 256, 257, 258, 300, 1000, 5000, 60000})
    for (const std::uint64_t distinct : {1, 2, 3, 16, 1000, 1 << 30}) {
      std::vector<std::int32_t> values(n);
      // Half of them zero, as behind a ReLU.
      for (auto& v : values)
        v = rng.below(2) == 0 ? 0 : static_cast<std::int32_t>(rng.below(static_cast<std::size_t>(distinct)));
      if (n % 2 == 0) std::sort(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(n / 2));
      for (const std::size_t k : {std::size_t{0}, n / 3, n / 2, n - 1 - n / 1000, n - 1}) {
        std::vector<std::int32_t> key(values), origin(n);
        std::iota(origin.begin(), origin.end(), 0);
        INFO(n << " keys, " << distinct << " distinct, k = " << k);
        CHECK(quickselect({key, origin}, k) == plain_quickselect(values, k));
      }
    }
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
        std::vector<std::int32_t> keys(x.size()), origins(x.size(), -1);
        order_key_kernels(isa).keys(by, x.data(), begin, n, keys.data(), origins.data());
        bool same = true;
        for (auto i = static_cast<std::size_t>(begin); i < x.size(); ++i) {
          same &= origins[i] == static_cast<std::int32_t>(i);
          for (auto j = static_cast<std::size_t>(begin); j < x.size(); ++j)
            same &= (keys[i] < keys[j]) == (rank(by, x[i]) < rank(by, x[j]));
        }
        INFO(name_of(isa) << ' ' << static_cast<int>(by) << " from " << begin);
        CHECK(same);
      }
}
