#include "apps/terminal/wait_policy.h"

#include <unistd.h>

#include <cstdlib>

namespace nibble {

void prefer_short_spins(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;
  setenv("GOMP_SPINCOUNT", "10000", 1);
  execv("/proc/self/exe", argv);
}

}  // namespace nibble
