#pragma once

#include <cstddef>
#include <functional>

namespace nibble {

// Calls job(0) ... job(count - 1), none of which may need another, as many at a time as there are threads.
// Each has a thread to itself: threads that share one training wait for each other dozens of times a step.
// done(i) follows in the order of i, one at a time. When a job throws, those under way finish and no other
// starts; the exception of the first by number is rethrown, and done() was called for all before it: as if
// they had run one after the other.
void side_by_side(std::size_t count, const std::function<void(std::size_t)>& job,
                  const std::function<void(std::size_t)>& done);

}  // namespace nibble
