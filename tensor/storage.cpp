#include "tensor/storage.h"

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <mutex>
#include <new>
#include <unordered_map>
#include <vector>

namespace nibble {
namespace {

// Rounds up to a multiple of an eighth of the next lower power of two: at most 12.5 % is wasted and similar
// sizes (the last batch of an epoch) share a block.
std::size_t size_class(std::size_t bytes) {
  const std::size_t least = std::max<std::size_t>(bytes, 512);
  const std::size_t step = std::max<std::size_t>(std::bit_floor(least) / 8, Storage::kAlignment);
  if (least > SIZE_MAX - step) throw std::bad_alloc();
  return (least + step - 1) / step * step;
}

// The system hands out large blocks at one and the same place of a page. Rows of two of them, passed over
// together, then fall into the same sets of L1 and push each other out, and a load seems to wait for a store
// to the same place of another page. So each new one begins elsewhere in its first page.
constexpr std::size_t kPage = 4096;
constexpr std::size_t kLeastSpread = 32 * kPage;
// Nearly the golden section of the page: any few blocks that follow each other lie far apart.
constexpr std::size_t kPlaceStep = 39 * Storage::kAlignment;

// Weights and images of this size are read from end to end: with large pages no translation of an address
// misses its cache on the way, and prefetching does not end every 4 KiB.
constexpr std::size_t kLargePage = 2 << 20;

std::align_val_t alignment_of(std::size_t capacity) {
  return std::align_val_t{capacity >= kLargePage     ? kLargePage
                          : capacity >= kLeastSpread ? kPage
                                                     : Storage::kAlignment};
}

std::byte* system_allocate(std::size_t capacity, std::size_t place) {
  const bool spread = capacity >= kLeastSpread;
  const std::size_t size = capacity + (spread ? kPage : 0);
  void* const block = ::operator new(size, alignment_of(capacity), std::nothrow);
  if (block == nullptr) return nullptr;
#if defined(MADV_HUGEPAGE)
  if (capacity >= kLargePage) madvise(block, size, MADV_HUGEPAGE);  // advice: it may fail
#endif
  return static_cast<std::byte*>(block) + (spread ? place : 0);
}

void system_free(std::byte* block, std::size_t capacity) {
  const std::size_t place = capacity < kLeastSpread ? 0 : reinterpret_cast<std::uintptr_t>(block) % kPage;
  ::operator delete(block - place, alignment_of(capacity));
}

class Pool {
 public:
  // For the thread of that number, from among the blocks it once asked the system for: which ones are free
  // does not depend on what other threads do at the time, so neither does when there are enough of them. They
  // are also the ones its caches may still hold; fetching what another core has written costs more than
  // filling a scratch buffer.
  std::byte* take(std::size_t owner, std::size_t capacity) {
    std::size_t place;
    {
      const std::lock_guard lock(mutex_);
      std::vector<std::byte*>& blocks = free_[owner][capacity];
      stats_.bytes_in_use += capacity;
      if (!blocks.empty()) {
        stats_.bytes_cached -= capacity;
        std::byte* const block = blocks.back();
        blocks.pop_back();
        return block;
      }
      ++stats_.system_allocations;
      place = place_;
      if (capacity >= kLeastSpread) place_ = (place_ + kPlaceStep) % kPage;
    }
    std::byte* const block = system_allocate(capacity, place);
    if (block == nullptr) {
      const std::lock_guard lock(mutex_);
      stats_.bytes_in_use -= capacity;
      throw std::bad_alloc();
    }
    return block;
  }

  void give(std::byte* block, std::size_t owner, std::size_t capacity) noexcept {
    const std::lock_guard lock(mutex_);
    stats_.bytes_in_use -= capacity;
    try {
      free_[owner][capacity].push_back(block);
      stats_.bytes_cached += capacity;
    } catch (const std::bad_alloc&) {
      system_free(block, capacity);
    }
  }

  PoolStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void trim() {
    const std::lock_guard lock(mutex_);
    for (FreeBlocks& free : free_) {
      for (const auto& [capacity, blocks] : free)
        for (std::byte* const block : blocks) system_free(block, capacity);
      free.clear();
    }
    stats_.bytes_cached = 0;
  }

  // For a thread that begins to allocate; a number that is no longer in use, with its blocks, comes first.
  std::size_t new_owner() {
    const std::lock_guard lock(mutex_);
    if (unused_owners_.empty()) {
      unused_owners_.reserve(free_.size() + 1);  // so that end_owner cannot fail
      free_.emplace_back();
      return free_.size() - 1;
    }
    const std::size_t owner = unused_owners_.back();
    unused_owners_.pop_back();
    return owner;
  }
  void end_owner(std::size_t owner) noexcept {
    const std::lock_guard lock(mutex_);
    unused_owners_.push_back(owner);
  }

 private:
  using FreeBlocks = std::unordered_map<std::size_t, std::vector<std::byte*>>;  // by capacity

  std::mutex mutex_;
  std::vector<FreeBlocks> free_;  // by owner
  std::vector<std::size_t> unused_owners_;
  PoolStats stats_{};
  std::size_t place_ = 0;  // of the next large block
};

// Never destroyed: tensors with static lifetime may outlive any order of destruction.
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

// The number of this thread.
std::size_t owner() {
  struct Owner {
    const std::size_t number = pool().new_owner();
    ~Owner() { pool().end_owner(number); }
  };
  thread_local const Owner self;
  return self.number;
}

}  // namespace

std::shared_ptr<Storage> Storage::allocate(std::size_t bytes) {
  const std::size_t capacity = size_class(bytes), self = owner();
  std::byte* const data = pool().take(self, capacity);
  try {
    return std::shared_ptr<Storage>(new Storage(data, bytes, self));
  } catch (...) {
    pool().give(data, self, capacity);
    throw;
  }
}

Storage::~Storage() { pool().give(data_, owner_, size_class(bytes_)); }

PoolStats pool_stats() { return pool().stats(); }
void trim_pool() { pool().trim(); }

}  // namespace nibble
