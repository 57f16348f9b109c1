#pragma once

#include <string>

#include "tensor/tensor.h"

namespace nibble {

// As PyTorch prints a tensor: nested brackets, columns aligned, four decimals; of more than 1000 elements
// only the first and last three along each dimension.
std::string format_tensor(const Tensor& tensor);
// One line of full precision, for scales: 0.0625, or [0.0625, 0.125] in row-major order.
std::string format_numbers(const Tensor& tensor);

}  // namespace nibble
