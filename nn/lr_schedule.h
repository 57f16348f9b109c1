#pragma once

#include <cmath>
#include <numbers>

#include "nn/optimizer.h"

namespace nibble::nn {

// Learning rates as functions of the epoch (0, 1, ...); use with optimizer.set_lr().

// lr * gamma^floor(epoch / step_size)
inline double step_lr(double lr, int epoch, int step_size, double gamma = 0.1) {
  NIBBLE_CHECK(step_size >= 1, "step_lr: step_size is ", step_size, ", expected at least 1");
  return lr * std::pow(gamma, epoch / step_size);
}

// Half a cosine from lr to min_lr over `epochs` (Loshchilov and Hutter, "SGDR", 2017, equation 5).
inline double cosine_lr(double lr, int epoch, int epochs, double min_lr = 0) {
  NIBBLE_CHECK(epochs >= 1, "cosine_lr: epochs is ", epochs, ", expected at least 1");
  return min_lr + (lr - min_lr) * (1 + std::cos(std::numbers::pi * epoch / epochs)) / 2;
}

}  // namespace nibble::nn
