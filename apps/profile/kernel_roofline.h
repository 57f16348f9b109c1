#pragma once

#include <filesystem>
#include <string>

#include "apps/profile/kernel_tables.h"

namespace nibble {

// A roofline a shape, with all of its products on it: operations per second over operations per byte, below
// what the machine computes and reads at best. Throws std::system_error naming a path that cannot be written.
void draw_roofline(const std::filesystem::path& path, const KernelResults& results,
                   const std::string& conditions);

}  // namespace nibble
