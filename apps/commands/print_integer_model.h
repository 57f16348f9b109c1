#pragma once

#include "quant/integer/model.h"

namespace nibble {

// A line for each layer: widths, shapes, and the overflow proof of products: what their sums need at worst,
// and the kernels that permits.
void print_integer_model(const quant::IntModel& model);

}  // namespace nibble
