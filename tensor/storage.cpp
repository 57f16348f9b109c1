#include "tensor/storage.h"

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

class Pool {
 public:
  std::byte* take(std::size_t capacity) {
    {
      const std::lock_guard lock(mutex_);
      stats_.bytes_in_use += capacity;
      auto found = free_.find(capacity);
      if (found != free_.end() && !found->second.empty()) {
        std::byte* block = found->second.back();
        found->second.pop_back();
        stats_.bytes_cached -= capacity;
        return block;
      }
      ++stats_.system_allocations;
    }
    void* block = ::operator new (capacity, std::align_val_t{Storage::kAlignment}, std::nothrow);
    if (block == nullptr) {
      const std::lock_guard lock(mutex_);
      stats_.bytes_in_use -= capacity;
      throw std::bad_alloc();
    }
    return static_cast<std::byte*>(block);
  }

  void give(std::byte* block, std::size_t capacity) noexcept {
    const std::lock_guard lock(mutex_);
    stats_.bytes_in_use -= capacity;
    try {
      free_[capacity].push_back(block);
      stats_.bytes_cached += capacity;
    } catch (const std::bad_alloc&) {
      release(block);
    }
  }

  PoolStats stats() {
    const std::lock_guard lock(mutex_);
    return stats_;
  }

  void trim() {
    const std::lock_guard lock(mutex_);
    for (auto& [capacity, blocks] : free_)
      for (std::byte* block : blocks) release(block);
    free_.clear();
    stats_.bytes_cached = 0;
  }

 private:
  static void release(std::byte* block) { ::operator delete (block, std::align_val_t{Storage::kAlignment}); }

  std::mutex mutex_;
  std::unordered_map<std::size_t, std::vector<std::byte*>> free_;
  PoolStats stats_{};
};

// Never destroyed: tensors with static lifetime may outlive any order of destruction.
Pool& pool() {
  static Pool* const instance = new Pool;
  return *instance;
}

}  // namespace

std::shared_ptr<Storage> Storage::allocate(std::size_t bytes) {
  std::byte* data = pool().take(size_class(bytes));
  try {
    return std::shared_ptr<Storage>(new Storage(data, bytes));
  } catch (...) {
    pool().give(data, size_class(bytes));
    throw;
  }
}

Storage::~Storage() { pool().give(data_, size_class(bytes_)); }

PoolStats pool_stats() { return pool().stats(); }
void trim_pool() { pool().trim(); }

}  // namespace nibble
