#pragma once

#include <cstdint>
#include <string>

#include "apps/training/options.h"

namespace nibble {

struct ProfileTrainOptions {
  QuantizationOptions quantization{.weight_bits = 32};
  std::int64_t batch_size = 64, steps = 300, warm_up = 20;
  int threads = 0;   // 0: OMP_NUM_THREADS or all cores
  std::string json;  // empty: none
};

// Trains the lab's network on random images of MNIST's size and prints where the time of a step went; needs
// no data set, as no operation's time depends on what the images show.
void profile_train(const ProfileTrainOptions& options);

}  // namespace nibble
