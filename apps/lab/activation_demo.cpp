#include "apps/lab/activation_demo.h"

#include <fmt/format.h>

#include "quant/quant_activation.h"
#include "quant/quant_tensor.h"
#include "tensor/factory.h"

namespace nibble {

DemoRecord demonstrate_activation(int bits) {
  quant::QuantIdentity identity(quant::Int8ActPerTensorFloat(bits));
  DemoRecord demo;
  demo.bits = bits;
  demo.input = {-1.0f, -0.8f, -0.5f, -0.3f, -0.1f, 0.1f, 0.3f, 0.5f, 0.8f, 1.0f};
  const Tensor x = from_values<float>({static_cast<std::int64_t>(demo.input.size())}, demo.input);
  const quant::QuantTensor y(identity(x));
  const Tensor value = y.value().value().contiguous(), codes = y.codes().contiguous();
  demo.scale = y.scale().value().item();
  for (const float v : value.values<float>()) demo.output.push_back(v);
  for (const std::int32_t code : codes.values<std::int32_t>()) demo.codes.push_back(code);
  return demo;
}

void print_demo(const DemoRecord& demo) {
  fmt::print("QuantIdentity, signed, {} bits, scale {}\n", demo.bits, demo.scale);
  fmt::print("input      {:8.4f}\nquantized  {:8.4f}\ncodes      {:8}\n", fmt::join(demo.input, " "),
             fmt::join(demo.output, " "), fmt::join(demo.codes, " "));
}

}  // namespace nibble
