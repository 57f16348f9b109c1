#include "tensor/parallel.h"

#include <omp.h>

#include <algorithm>
#include <exception>
#include <mutex>
#include <utility>

#include "tensor/check.h"

namespace nibble {
namespace {

int& thread_count() {
  static int count = omp_get_max_threads();
  return count;
}

thread_local bool one_thread = false;

}  // namespace

OneThread::OneThread() : before_(std::exchange(one_thread, true)) {}
OneThread::~OneThread() { one_thread = before_; }

int num_threads() { return thread_count(); }

void set_num_threads(int threads) {
  NIBBLE_CHECK(threads >= 1 && threads <= 1024, "threads: ", threads, ", expected 1 to 1024");
  thread_count() = threads;
}

void detail::run_parallel(std::int64_t n, std::int64_t grain, Body body, void* context) {
  if (n <= 0) return;
  const std::int64_t step = std::max<std::int64_t>(grain, 1);
  const std::int64_t grains = (n + step - 1) / step;
  const int threads = static_cast<int>(std::min<std::int64_t>(grains, thread_count()));
  if (threads <= 1 || one_thread || omp_in_parallel()) {
    body(context, 0, n);
    return;
  }
  std::exception_ptr failure;
  std::mutex mutex;
#pragma omp parallel num_threads(threads)
  {
    const std::int64_t team = omp_get_num_threads(), self = omp_get_thread_num();
    const std::int64_t begin = grains * self / team * step;
    const std::int64_t end = std::min(n, grains * (self + 1) / team * step);
    try {
      if (begin < end) body(context, begin, end);
    } catch (...) {
      const std::lock_guard lock(mutex);
      if (!failure) failure = std::current_exception();
    }
  }
  if (failure) std::rethrow_exception(failure);
}

}  // namespace nibble
