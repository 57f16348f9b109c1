#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace nibble {

// A block of memory, 64-byte aligned, recycled through a caching pool: fresh pages cost more than most
// kernels that fill them. Whichever thread gives a block up, it returns to the one that allocated it.
// Contents are undefined after allocate().
class Storage {
 public:
  static constexpr std::size_t kAlignment = 64;

  static std::shared_ptr<Storage> allocate(std::size_t bytes);  // throws std::bad_alloc
  ~Storage();
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;

  std::byte* data() { return data_; }
  const std::byte* data() const { return data_; }
  std::size_t bytes() const { return bytes_; }

  // Counts in-place writes; autograd compares it to detect a saved tensor that has changed since.
  std::uint64_t version() const { return version_; }
  void bump_version() { ++version_; }

 private:
  Storage(std::byte* data, std::size_t bytes, std::size_t owner)
      : data_(data), bytes_(bytes), owner_(owner) {}

  std::byte* data_;
  std::size_t bytes_;
  std::size_t owner_;  // the thread to whose blocks it returns
  std::uint64_t version_ = 0;
};

struct PoolStats {
  std::size_t system_allocations;  // calls to the system allocator since the program started
  std::size_t bytes_in_use;
  std::size_t bytes_cached;
};

PoolStats pool_stats();

// Returns every cached block to the system.
void trim_pool();

}  // namespace nibble
