#pragma once

#include "quant/integer/model.h"
#include "quant/integer/trace.h"

namespace nibble::quant {

// The specification (docs/integer-semantics.md) as plainly as it can be written, one output after the other
// in int64: what everything faster is compared with. pixels: uint8 [N, C, H, W].
IntTrace run_reference(const IntModel& model, const Tensor& pixels);

// Index of the largest of n logits, the first of equal ones.
std::int64_t argmax(const std::int32_t* logits, std::int64_t n);

}  // namespace nibble::quant
