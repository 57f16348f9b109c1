#pragma once

#include <vector>

#include "quant/integer/model.h"

namespace nibble::quant {

// Where in the arena of an exported program, in bytes from its start, the codes of "input" and behind each
// layer but the last lie, one byte a code. What the last layer makes goes to the caller's logits.
struct ArenaPlan {
  std::vector<std::int64_t> offset;
  std::int64_t bytes = 0;
};

// shapes: of one image as "input" and behind each layer.
ArenaPlan plan_arena(const IntModel& model, const std::vector<Shape>& shapes);

}  // namespace nibble::quant
