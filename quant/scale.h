#pragma once

#include "autograd/variable.h"

namespace nibble::quant {

// 2^ceil(log2(x)), with log2 rounded to float32 before ceil. x > 0.
float round_up_to_power_of_two(float x);

// max(x, 1e-10) with a straight-through gradient; so x itself where nothing is less.
Variable at_least_scaling_min(const Variable& x);

// Maximum of |w|, rank 0; tied maxima share the gradient sign(w) * grad evenly.
Variable abs_max(const Variable& w);
// The same for each index of the first dimension, shape [K, 1, ...]; the first maximum takes the gradient.
Variable abs_max_per_channel(const Variable& w);

// statistic / divisor elementwise.
Variable float_scale(const Variable& statistic, double divisor);
// 2^ceil(log2(statistic)) / divisor elementwise. ceil is straight-through and the ln 2 of log2 and 2^x
// cancel, so dscale / dstatistic = scale / statistic.
Variable power_of_two_scale(const Variable& statistic, double divisor);
// 2^ceil(log2_value) / divisor: the learned form, dscale / dlog2_value = scale * ln 2.
Variable power_of_two_scale_of_log2(const Variable& log2_value, double divisor);

}  // namespace nibble::quant
