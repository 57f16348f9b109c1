#pragma once

#include "autograd/ops_loss.h"

namespace nibble::nn {

using nibble::cross_entropy;
using nibble::Reduction;

}  // namespace nibble::nn
