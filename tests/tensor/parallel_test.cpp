#include "tensor/parallel.h"

#include <algorithm>
#include <mutex>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/support/catch.h"
#include "tests/support/threads.h"

using namespace nibble;
using nibble::test::Threads;

namespace {

using Range = std::pair<std::int64_t, std::int64_t>;

struct Calls {
  std::vector<Range> ranges;  // in order
  std::set<std::thread::id> threads;
};

Calls calls_of(std::int64_t n, std::int64_t grain) {
  Calls calls;
  std::mutex mutex;
  parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
    const std::lock_guard lock(mutex);
    calls.ranges.emplace_back(begin, end);
    calls.threads.insert(std::this_thread::get_id());
  });
  std::sort(calls.ranges.begin(), calls.ranges.end());
  return calls;
}

}  // namespace

TEST_CASE("parallel_for: ranges cover [0, n) once, each a multiple of the grain but the last") {
  for (const int threads : {1, 2, 3, 8}) {
    const Threads set(threads);
    CHECK(num_threads() == threads);
    for (const std::int64_t n : {1, 2, 7, 8, 9, 64, 1000})
      for (const std::int64_t grain : {-1, 0, 1, 3, 8, 999, 1000, 5000}) {
        INFO(threads << " threads, n " << n << ", grain " << grain);
        const Calls calls = calls_of(n, grain);
        const std::int64_t step = std::max<std::int64_t>(grain, 1);
        std::int64_t next = 0;
        for (const auto& [begin, end] : calls.ranges) {
          CHECK(begin == next);
          CHECK(begin < end);
          CHECK((end == n || (end - begin) % step == 0));
          next = end;
        }
        CHECK(next == n);
        CHECK(calls.ranges.size() <= static_cast<std::size_t>(threads));
        if (n <= step) CHECK(calls.threads == std::set{std::this_thread::get_id()});
      }
    CHECK(calls_of(0, 1).ranges.empty());
    CHECK(calls_of(-3, 1).ranges.empty());
  }
}

TEST_CASE("parallel_for: several threads take part, unless one is enough or asked for") {
  const Threads set(2);
  CHECK(calls_of(100, 1).threads.size() == 2);
  CHECK(calls_of(100, 100).ranges == std::vector<Range>{{0, 100}});
  {
    const OneThread outer;
    {
      const OneThread inner;
      CHECK(calls_of(100, 1).ranges == std::vector<Range>{{0, 100}});
    }
    CHECK(calls_of(100, 1).ranges == std::vector<Range>{{0, 100}});
    // It binds the thread that made it alone.
    std::size_t elsewhere = 0;
    std::thread([&] { elsewhere = calls_of(100, 1).threads.size(); }).join();
    CHECK(elsewhere == 2);
  }
  CHECK(calls_of(100, 1).threads.size() == 2);
}

TEST_CASE("parallel_for: one within another stays on its thread") {
  const Threads set(2);
  std::mutex mutex;
  int outer = 0, inner = 0, strangers = 0;
  parallel_for(2, 1, [&](std::int64_t, std::int64_t) {
    const std::thread::id self = std::this_thread::get_id();
    int calls = 0, others = 0;
    parallel_for(50, 1, [&](std::int64_t begin, std::int64_t end) {
      others += std::this_thread::get_id() != self || begin != 0 || end != 50;
      ++calls;
    });
    const std::lock_guard lock(mutex);
    ++outer, inner += calls, strangers += others;
  });
  CHECK(outer == 2);
  CHECK(inner == 2);
  CHECK(strangers == 0);
}

TEST_CASE("parallel_for: an exception is rethrown once all threads are done, and the next call works") {
  for (const int threads : {1, 2}) {
    const Threads set(threads);
    const auto failing = [](std::int64_t begin, std::int64_t) {
      throw std::runtime_error("range from " + std::to_string(begin));
    };
    CHECK_THROWS_WITH(parallel_for(10, 1, failing), Catch::Contains("range from "));
    CHECK_THROWS_AS(parallel_for(10, 1, failing), std::runtime_error);

    // One that comes second is dropped.
    std::mutex mutex;
    std::int64_t done = 0;
    CHECK_THROWS_WITH(parallel_for(10, 1,
                                   [&](std::int64_t begin, std::int64_t end) {
                                     const std::lock_guard lock(mutex);
                                     done += end - begin;
                                     throw std::runtime_error(done == end - begin ? "first" : "second");
                                   }),
                      "first");
    CHECK(done == 10);
    CHECK(calls_of(10, 1).ranges.back().second == 10);
  }
}

TEST_CASE("set_num_threads refuses what is no number of threads") {
  const int before = num_threads();
  CHECK_THROWS_WITH(set_num_threads(0), "threads: 0, expected 1 to 1024");
  CHECK_THROWS_WITH(set_num_threads(1025), "threads: 1025, expected 1 to 1024");
  CHECK(num_threads() == before);
}
