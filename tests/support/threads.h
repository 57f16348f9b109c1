#pragma once

#include "tensor/parallel.h"

namespace nibble::test {

// So many threads while it lives, then as many as before.
class Threads {
 public:
  explicit Threads(int threads) { set_num_threads(threads); }
  ~Threads() { set_num_threads(before_); }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  int before_ = num_threads();
};

}  // namespace nibble::test
