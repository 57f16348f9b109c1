#include "apps/training/side_by_side.h"

#include <atomic>
#include <cstdint>
#include <exception>
#include <mutex>
#include <vector>

#include "tensor/parallel.h"

namespace nibble {

void side_by_side(std::size_t count, const std::function<void(std::size_t)>& job,
                  const std::function<void(std::size_t)>& done) {
  std::atomic<std::size_t> next = 0;
  std::atomic<bool> failed = false;
  std::vector<std::exception_ptr> failures(count);
  std::mutex mutex;
  std::vector<bool> finished(count);
  std::size_t reported = 0;
  // A range for each thread, but which jobs a thread does depends on how long they take.
  parallel_for(static_cast<std::int64_t>(count), 1, [&](std::int64_t, std::int64_t) {
    for (std::size_t i; !failed && (i = next++) < count;) {
      try {
        job(i);
        const std::lock_guard lock(mutex);
        finished[i] = true;
        for (; reported < count && finished[reported]; ++reported) done(reported);
      } catch (...) {
        failures[i] = std::current_exception();
        failed = true;
      }
    }
  });
  for (const std::exception_ptr& failure : failures)
    if (failure) std::rethrow_exception(failure);
}

}  // namespace nibble
