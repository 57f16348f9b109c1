#pragma once

#include <filesystem>

#include "apps/lab/lab_results.h"

namespace nibble {

// Writes report.md and its figures (curves.png, weights.png, sweep.png) into `folder`. Everything it says
// comes from `results`; runs that are missing are left out. Throws std::system_error naming the file that
// cannot be written.
void write_report(const std::filesystem::path& folder, const LabResults& results);

}  // namespace nibble
