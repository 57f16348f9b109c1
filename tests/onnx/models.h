#pragma once

#include "nn/sequential.h"
#include "quant/integer/model.h"
#include "tensor/random.h"

// What the tests of the export run on: networks with random weights, and pixels for them.

namespace nibble::test {

// The lab's network: conv 1 -> 8, pool, conv 8 -> 16, pool, linear 784 -> 10.
quant::IntModel lab_model(int weight_bits, int act_bits, Rng& rng);

// Everything that an integer model may have, in sizes that a test can afford.
quant::IntModel random_model(Rng& rng);

// Every float layer that has an ONNX form, for images [1, 28, 28]; in training mode.
nn::Sequential float_network(Rng& rng);

// Patches of 8x8 with a brightness each, and noise: images that differ, so that their answers do. Up to
// 32x32.
Tensor random_pixels(std::int64_t n, const Shape& image, Rng& rng);

// Takes the average of each logit over the images from its bias, else most networks have one answer for all.
void center_logits(quant::IntModel& model, const Tensor& pixels);

}  // namespace nibble::test
