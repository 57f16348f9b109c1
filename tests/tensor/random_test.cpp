#include "tensor/random.h"

#include <array>
#include <cmath>
#include <set>
#include <vector>

#include "tests/support/catch.h"

using namespace nibble;

namespace {

struct Known {
  std::uint64_t seed, stream;
  std::array<std::uint32_t, 8> words;    // counters 0 and 1
  std::array<std::uint64_t, 3> halves;   // below(2^63)
  std::array<std::uint64_t, 3> smaller;  // below(1000000007)
  std::array<double, 2> uniform;
};

// The first four words of seed 0 are from Random123's kat_vectors (philox4x32 10, counter and key 0), the
// other words from a program of its own that gives that file's other vectors too (Rng, whose counter is below
// 2^62, does not reach those). The rest follows from the words: of two the first is the high one.
const std::vector<Known> kKnown = {
    {0,
     0,
     {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8, 0xf8e4cca4, 0x5cb200db, 0xb1a574eb, 0x097eff67},
     {7361108121267848589, 4348133410267519960, 8711312585543254235},
     {740092106, 121758304, 855238571},
     {0x1.989fa370b4e2cp-2, 0x1.78af58a6c036fp-1}},
    {~std::uint64_t{0},
     ~std::uint64_t{0},
     {0x3d3be307, 0x716983d6, 0x70094bed, 0x36c3cf91, 0x933684c8, 0x53e5a0af, 0xd2fd021a, 0xb4c93c70},
     {4412369881046549462, 8073067289236459409, 1384439931398889647},
     {159960512, 724988785, 998982204},
     {0x1.e9df18716983cp-3, 0x1.c0252f9b61e7cp-2}},
    {0x0123456789abcdef,
     0xfedcba9876543210,
     {0xaef2adf7, 0xf69b5950, 0x3ceb44f4, 0x89b6573a, 0xec2ab39f, 0x4671fd85, 0x74decae0, 0x4b77ec76},
     {3382957550614567248, 4389678078875817786, 7794239601781112197},
     {225036563, 148071450, 512607372},
     {0x1.5de55bfda6d65p-1, 0x1.e75a2789b657p-3}},
};

}  // namespace

TEST_CASE("random: known answers") {
  for (const Known& known : kKnown) {
    INFO("seed " << known.seed << ", stream " << known.stream);
    Rng words(known.seed, known.stream), halves = words, smaller = words, uniform = words;
    for (const std::uint32_t expected : known.words) CHECK(words.next_u32() == expected);
    for (const std::uint64_t expected : known.halves) CHECK(halves.below(std::uint64_t{1} << 63) == expected);
    for (const std::uint64_t expected : known.smaller) CHECK(smaller.below(1000000007) == expected);
    for (const double expected : known.uniform) CHECK(uniform.uniform() == expected);
  }
  CHECK(stream_of(1, 2, 3) == 0xd0734750fde362b3);
  CHECK(stream_of(0) == 0x238275bc38fcbe91);
}

TEST_CASE("random: below() stays below its bound and reaches every value") {
  Rng rng(1);
  for (const std::uint64_t bound : {1, 2, 3, 7, 10, 64}) {
    std::vector<int> counts(bound);
    for (std::uint64_t i = 0; i < 200 * bound; ++i) {
      const std::uint64_t value = rng.below(bound);
      REQUIRE(value < bound);
      ++counts[value];
    }
    // 200 expected, with a deviation of at most 14.
    for (const int count : counts) CHECK((count > 110 && count < 290));
  }
  // Of this bound's 2^64 values almost half are rejected.
  const std::uint64_t large = (std::uint64_t{1} << 63) + 1;
  for (int i = 0; i < 100; ++i) CHECK(rng.below(large) < large);
}

TEST_CASE("random: uniform() and normal() have their moments") {
  Rng rng(2);
  double sum = 0, square_sum = 0, normal_sum = 0, normal_square_sum = 0;
  constexpr int kDraws = 20000;
  for (int i = 0; i < kDraws; ++i) {
    const double u = rng.uniform(), n = rng.normal();
    REQUIRE((u >= 0 && u < 1));
    REQUIRE(std::isfinite(n));
    sum += u, square_sum += u * u, normal_sum += n, normal_square_sum += n * n;
  }
  CHECK(sum / kDraws == Approx(0.5).margin(0.01));
  CHECK(square_sum / kDraws == Approx(1.0 / 3).margin(0.01));
  CHECK(normal_sum / kDraws == Approx(0).margin(0.03));
  CHECK(normal_square_sum / kDraws == Approx(1).margin(0.05));
}

TEST_CASE("random: seeds and streams do not share numbers, nor do draws of one disturb another") {
  std::set<std::uint64_t> seen;
  for (const std::uint64_t seed : {0, 1, 2})
    for (const std::uint64_t stream : {0, 1, 2}) {
      Rng rng(seed, stream);
      for (int i = 0; i < 200; ++i) seen.insert(rng.below(std::uint64_t{1} << 63));
    }
  CHECK(seen.size() == 9 * 200);

  Rng alone(5, 1), drawn(5, 1), other(5, 2);
  for (int i = 0; i < 100; ++i) {
    for (int j = 0; j < i % 3; ++j) other.next_u32();
    CHECK(alone.next_u32() == drawn.next_u32());
  }
  std::set<std::uint64_t> streams;
  for (std::uint64_t a : {0, 1, 2})
    for (std::uint64_t b : {0, 1, 2})
      for (std::uint64_t c : {0, 1, 2}) streams.insert(stream_of(a, b, c));
  CHECK(streams.size() == 27);
}
