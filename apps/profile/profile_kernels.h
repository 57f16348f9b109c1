#pragma once

#include <string>
#include <vector>

namespace nibble {

struct ProfileKernelsOptions {
  std::vector<std::string> shapes;  // MxNxK; empty: a choice of layers
  std::string why;                  // the shape to explain; empty: none
  int threads = 1;
  bool quick = false;
  std::string json, out;  // empty: none
};

// Measures integer products of every width against float32 and what the machine can do: a table, JSON and
// figures.
void profile_kernels(const ProfileKernelsOptions& options);

}  // namespace nibble
