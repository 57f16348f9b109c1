#pragma once

#include <string>
#include <vector>

#include "apps/profile/kernel_tables.h"

namespace nibble {

// Why a width of weights is or is not faster at this shape, in sentences with the figures measured.
std::vector<std::string> explain_kernels(const KernelReport& report, const KernelResults& results);

}  // namespace nibble
