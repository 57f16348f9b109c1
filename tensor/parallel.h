#pragma once

#include <cstdint>
#include <type_traits>

namespace nibble {

// Threads used by parallel_for; OMP_NUM_THREADS or all cores unless set.
int num_threads();
void set_num_threads(int threads);  // throws unless 1..1024

// While it lives, parallel_for of this thread stays on this thread.
class OneThread {
 public:
  OneThread();
  ~OneThread();
  OneThread(const OneThread&) = delete;
  OneThread& operator=(const OneThread&) = delete;

 private:
  bool before_;
};

namespace detail {
using Body = void (*)(void* context, std::int64_t begin, std::int64_t end);
void run_parallel(std::int64_t n, std::int64_t grain, Body body, void* context);
}  // namespace detail

// Calls f(begin, end) on disjoint ranges that cover [0, n), each a multiple of `grain` long but the last; on
// the calling thread alone when one grain suffices or when already inside a parallel_for. The first exception
// is rethrown. Which ranges come about depends on the thread count, so f must not: to reduce, write one
// partial result per fixed-size chunk and add them in order.
template <class F>
void parallel_for(std::int64_t n, std::int64_t grain, F&& f) {
  detail::run_parallel(
      n, grain,
      [](void* context, std::int64_t begin, std::int64_t end) {
        (*static_cast<std::remove_reference_t<F>*>(context))(begin, end);
      },
      const_cast<void*>(static_cast<const void*>(&f)));
}

}  // namespace nibble
