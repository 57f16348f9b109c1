#pragma once

#include "apps/lab/lab_results.h"

namespace nibble {

// The notebook's experiment: ten numbers through a signed QuantIdentity, whose scale is that of this very
// batch.
DemoRecord demonstrate_activation(int bits);
void print_demo(const DemoRecord& demo);

}  // namespace nibble
