#pragma once

#include <string>

#include "quant/integer/model.h"

namespace nibble {

// Every integer on the way from pixel (y, x) of a one-channel image to the logits, in words: its code, then
// layer by layer the output in whose window the code before stands most centrally, of the channel where it
// weighs most, with its sum term by term, and its requantization. image: uint8 [1, C, H, W].
std::string trace_pixel(const quant::IntModel& model, const Tensor& image, std::int64_t y, std::int64_t x);

}  // namespace nibble
