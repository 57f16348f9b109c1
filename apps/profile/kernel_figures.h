#pragma once

#include <filesystem>

#include "apps/profile/kernel_tables.h"

namespace nibble {

inline constexpr char kRooflineFigure[] = "roofline.png", kLayersFigure[] = "layers-batch-1.png",
                      kBatchFigure[] = "layers-batch-64.png";

// Into a folder: a roofline a shape with all of its products on it; the speed of weights of fewer bits by
// layer size, at each of kLayerBatches. Throws std::system_error naming the path that cannot be written.
void draw_kernels(const std::filesystem::path& folder, const KernelResults& results);

}  // namespace nibble
