#include "tensor/storage.h"

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "tensor/parallel.h"
#include "tests/support/catch.h"
#include "tests/support/threads.h"

using namespace nibble;

namespace {

std::uintptr_t address(Storage& storage) { return reinterpret_cast<std::uintptr_t>(storage.data()); }

}  // namespace

TEST_CASE("blocks of every size are aligned, whole, and come back from the pool") {
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{4096}, std::size_t{131'071},
                                  std::size_t{131'072}, std::size_t{1'000'003}, std::size_t{5'000'000}}) {
    INFO(bytes << " bytes");
    trim_pool();
    const std::size_t in_use = pool_stats().bytes_in_use;
    std::uintptr_t first = 0;
    {
      const auto storage = Storage::allocate(bytes);
      first = address(*storage);
      CHECK(first % Storage::kAlignment == 0);
      CHECK(storage->bytes() == bytes);
      std::memset(storage->data(), 1, bytes);
      CHECK(pool_stats().bytes_in_use >= in_use + bytes);
    }
    CHECK(pool_stats().bytes_in_use == in_use);
    CHECK(address(*Storage::allocate(bytes)) == first);
    trim_pool();
    CHECK(pool_stats().bytes_cached == 0);
  }
}

TEST_CASE("large blocks begin at places of a page that lie far apart") {
  trim_pool();
  std::vector<std::shared_ptr<Storage>> blocks;
  std::vector<std::uintptr_t> places;
  for (int i = 0; i < 4; ++i) {
    blocks.push_back(Storage::allocate(static_cast<std::size_t>(100 * i)));  // small ones do not count
    blocks.push_back(Storage::allocate(1'000'003));
    places.push_back(address(*blocks.back()) % 4096);
  }
  std::sort(places.begin(), places.end());
  for (std::size_t i = 0; i < places.size(); ++i) {
    const std::uintptr_t next = i + 1 < places.size() ? places[i + 1] : places[0] + 4096;
    CHECK(next - places[i] >= 512);
  }
}

TEST_CASE("what can fill a large page begins in the first 4 KiB of one") {
  trim_pool();
  std::vector<std::shared_ptr<Storage>> blocks;
  for (int i = 0; i < 4; ++i) {
    blocks.push_back(Storage::allocate(std::size_t{2 << 20} + static_cast<std::size_t>(i) * 1'000'003));
    CHECK(address(*blocks.back()) % (2 << 20) < 4096);
  }
  // The places in it differ all the same.
  CHECK(address(*blocks[0]) % 4096 != address(*blocks[1]) % 4096);
}

TEST_CASE("which blocks a thread finds does not depend on what others do at the time") {
  constexpr std::size_t kBytes = 54'321;
  const test::Threads two(2);
  trim_pool();
  std::byte* block[2] = {};
  std::atomic<int> given = 0;
  parallel_for(2, 1, [&](std::int64_t self, std::int64_t) {  // one after the other
    while (given < self) std::this_thread::yield();
    block[self] = Storage::allocate(kBytes)->data();
    ++given;
  });
  CHECK(block[0] != block[1]);
  const std::size_t before = pool_stats().system_allocations;
  std::atomic<int> taken = 0;
  std::byte* again[2] = {};
  parallel_for(2, 1, [&](std::int64_t self, std::int64_t) {  // both at once
    const auto storage = Storage::allocate(kBytes);
    again[self] = storage->data();
    ++taken;
    while (taken < 2) std::this_thread::yield();
  });
  CHECK(pool_stats().system_allocations == before);
  CHECK(again[0] == block[0]);
  CHECK(again[1] == block[1]);
}

TEST_CASE("blocks return to the thread that allocated them, and when it has ended to the next one") {
  constexpr std::size_t kBytes = 65'432;
  trim_pool();
  const std::byte* first = nullptr;
  for (int i = 0; i < 3; ++i) {
    std::shared_ptr<Storage> storage;
    std::thread([&] { storage = Storage::allocate(kBytes); }).join();
    if (i == 0) first = storage->data();
    CHECK(storage->data() == first);
    storage.reset();
    CHECK(Storage::allocate(kBytes)->data() != first);
  }
}
