#pragma once

#include <variant>

#include "quant/integer/model.h"
#include "quant/integer/trace.h"

namespace nibble::quant {

// A model's layers one after the other on pixels, uint8 [N, C, H, W]: run(layer, codes, format) makes the
// LayerTrace of a layer from the codes before it and their format.
template <class Run>
IntTrace walk(const IntModel& model, const Tensor& pixels, Run run) {
  Tensor codes = pixels.contiguous().to(DType::int32).clone();
  for (std::int32_t& code : codes.mutable_values<std::int32_t>())
    code = model.input.codes[static_cast<std::size_t>(code)];
  IntTrace trace{{"input", {}, codes}};
  CodeFormat format = model.input.format;
  for (const IntLayer& layer : model.layers) {
    trace.push_back(std::visit([&](const auto& l) { return run(l, trace.back().codes, format); }, layer));
    format = output_format(layer, format);
  }
  return trace;
}

}  // namespace nibble::quant
