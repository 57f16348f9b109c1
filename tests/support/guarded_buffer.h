#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <new>

namespace nibble::test {

// n values of T whose last byte is the last of a page that is followed by one without access: a kernel that
// reads or writes past the end dies on the spot. With `guard_front`, the first byte follows such a page.
template <class T>
class GuardedBuffer {
 public:
  explicit GuardedBuffer(std::size_t n, bool guard_front = false) : n_(n) {
    const std::size_t page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t body = (n * sizeof(T) + page - 1) / page * page;
    bytes_ = body + 2 * page;
    void* const block = mmap(nullptr, bytes_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED) throw std::bad_alloc();
    block_ = static_cast<std::byte*>(block);
    if (body > 0 && mprotect(block_ + page, body, PROT_READ | PROT_WRITE) != 0) {
      munmap(block_, bytes_);
      throw std::bad_alloc();
    }
    data_ = reinterpret_cast<T*>(guard_front ? block_ + page : block_ + page + body - n * sizeof(T));
  }
  ~GuardedBuffer() { munmap(block_, bytes_); }
  GuardedBuffer(const GuardedBuffer&) = delete;
  GuardedBuffer& operator=(const GuardedBuffer&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  std::size_t size() const { return n_; }
  T* begin() { return data_; }
  T* end() { return data_ + n_; }
  T& operator[](std::size_t i) { return data_[i]; }
  const T& operator[](std::size_t i) const { return data_[i]; }

 private:
  std::byte* block_;
  std::size_t bytes_;
  std::size_t n_;
  T* data_;
};

}  // namespace nibble::test
