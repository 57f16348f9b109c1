#pragma once

#include "nn/sequential.h"
#include "quant/integer/model.h"
#include "quant/integer/trace.h"

// The trained graph beside the integers that it became, both evaluated with the float operations that trained
// it.

namespace nibble::quant {

// Deploy mode: the arithmetic of docs/integer-semantics.md, computed by conv2d, matmul and max_pool2d on
// codes kept in float32, or float64 where the bounds of a layer pass 2^24, so that every sum is exact;
// requantized in extended precision. Shares no code with the integer kernels. pixels: uint8 [N, C, H, W].
IntTrace run_deploy(const IntModel& model, const Tensor& pixels);

// What float fake quantization makes of the same pixels: the codes behind every quantizer and pooling, under
// the names that lowering gives to layers, and the float logits. Entries without codes (a Flatten, the last
// layer) are left out.
struct FakeQuantTrace {
  IntTrace layers;
  Tensor logits;  // float32 [N, classes]
};
FakeQuantTrace run_fake_quant(nn::Sequential& network, const Tensor& pixels, double pixel_divisor = 255);

}  // namespace nibble::quant
