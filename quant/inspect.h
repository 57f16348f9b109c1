#pragma once

#include <map>
#include <string>

#include "nn/module.h"
#include "quant/quantizer.h"

namespace nibble::quant {

// One weight beside its quantized form.
struct WeightReport {
  Tensor weight;     // float32
  Tensor quantized;  // float32, de-quantized
  Tensor codes;      // int32
  Tensor scale;
  int bit_width;
  double max_difference, min_difference, mean_difference;  // of weight - quantized
};
WeightReport inspect_weight(const Tensor& weight, const WeightQuantizer& quantizer);

// How many codes the weight of each quantized layer really uses, by layer name.
std::map<std::string, std::int64_t> distinct_codes(nn::Module& network);

}  // namespace nibble::quant
