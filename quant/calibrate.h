#pragma once

#include "nn/module.h"

namespace nibble::quant {

// Scoped guards over every quantized module below a network, with the semantics of Brevitas' context managers
// of these names. The training or evaluation mode of the network is left alone.

// While it lives, weights, biases and activations flow in float and activation quantizers only observe,
// averaging their statistics over all batches; at the end the averages become the scales. For a network whose
// activations are not quantized it does nothing, and neither does a second one on the same network.
class calibration_mode {
 public:
  explicit calibration_mode(nn::Module& network);
  ~calibration_mode();
  calibration_mode(const calibration_mode&) = delete;
  calibration_mode& operator=(const calibration_mode&) = delete;

 private:
  nn::Module& network_;
};

// While it lives, every quantized layer compares, per output channel, the mean of its float output with that
// of its quantized output on the input it really gets, and passes the float output on; at the end each bias
// gains the average difference (Nagel et al., "Data-free quantization", 2019, section 4.2, on data).
class bias_correction_mode {
 public:
  explicit bias_correction_mode(nn::Module& network);
  ~bias_correction_mode();
  bias_correction_mode(const bias_correction_mode&) = delete;
  bias_correction_mode& operator=(const bias_correction_mode&) = delete;

 private:
  nn::Module& network_;
};

}  // namespace nibble::quant
