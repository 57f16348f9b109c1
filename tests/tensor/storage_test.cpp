#include "tensor/storage.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <vector>

#include "tests/support/catch.h"

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
