#pragma once

#include <cstddef>
#include <functional>

namespace nibble {

// Calls job(0) ... job(count - 1), none of which may need another, as many at a time as there are threads.
// Each has a thread to itself: threads that share one training wait for each other dozens of times a step.
// done(i) follows in the order of i, one at a time. When something throws, jobs under way finish, no other
// starts, and the first exception is rethrown.
void side_by_side(std::size_t count, const std::function<void(std::size_t)>& job,
                  const std::function<void(std::size_t)>& done);

}  // namespace nibble
