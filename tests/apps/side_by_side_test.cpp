#include "apps/training/side_by_side.h"

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tensor/parallel.h"
#include "tests/support/catch.h"
#include "tests/support/threads.h"

namespace nibble::test {
namespace {

// Ranges into which parallel_for cuts.
int ranges() {
  std::atomic<int> count = 0;
  parallel_for(1000, 1, [&](std::int64_t, std::int64_t) { ++count; });
  return count;
}

}  // namespace

TEST_CASE("jobs side by side are all done once and reported in their order, for any number of threads") {
  for (const int threads : {1, 2, 3, 8}) {
    const Threads use(threads);
    for (const std::size_t count : {0, 1, 2, 3, 20}) {
      INFO(threads << " threads, " << count << " jobs");
      std::vector<int> calls(count);
      std::vector<std::size_t> reported, order;
      for (std::size_t i = 0; i < count; ++i) order.push_back(i);
      side_by_side(
          count, [&](std::size_t i) { ++calls[i]; },
          [&](std::size_t i) {
            CHECK(calls[i] == 1);
            reported.push_back(i);
          });
      CHECK(calls == std::vector<int>(count, 1));
      CHECK(reported == order);
    }
  }
}

TEST_CASE("jobs side by side have a thread each, one alone has all") {
  const Threads use(3);
  std::vector<int> parts(2);
  side_by_side(
      2, [&](std::size_t i) { parts[i] = ranges(); }, [](std::size_t) {});
  CHECK(parts == std::vector<int>{1, 1});
  side_by_side(
      1, [&](std::size_t i) { parts[i] = ranges(); }, [](std::size_t) {});
  CHECK(parts[0] == 3);
}

TEST_CASE("jobs side by side fail as if they ran one after the other") {
  for (const int threads : {1, 2, 4}) {
    const Threads use(threads);
    std::atomic<int> started = 0;
    std::vector<std::size_t> reported;
    const auto job = [&](std::size_t i) {
      ++started;
      if (i == 2) std::this_thread::sleep_for(std::chrono::milliseconds(20));  // 3 throws before it
      if (i >= 2) throw std::runtime_error("job " + std::to_string(i));
    };
    CHECK_THROWS_WITH(side_by_side(100, job, [&](std::size_t i) { reported.push_back(i); }), "job 2");
    CHECK(started >= 3);
    CHECK(started <= 2 + threads);
    CHECK(reported == std::vector<std::size_t>{0, 1});
  }
}

TEST_CASE("what done() throws stops the jobs side by side too") {
  const Threads use(1);
  int started = 0;
  CHECK_THROWS_WITH(
      side_by_side(
          100, [&](std::size_t) { ++started; }, [](std::size_t) { throw std::runtime_error("no room"); }),
      "no room");
  CHECK(started == 1);
}

}  // namespace nibble::test
