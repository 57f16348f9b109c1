#pragma once

#include <cstdint>
#include <string>

#include "tensor/conv.h"

// The shapes every contender is measured on.

namespace nibble::bench {

struct GemmShape {
  std::int64_t m, n, k;

  std::string name() const {
    return "m:" + std::to_string(m) + "/n:" + std::to_string(n) + "/k:" + std::to_string(k);
  }
  double gflop() const { return 2e-9 * static_cast<double>(m) * static_cast<double>(n * k); }
};

// Square and flat products, then what the lab's network is made of: its convolutions seen as products, the
// input and weight gradients of its linear layer.
inline constexpr GemmShape kGemmShapes[] = {{64, 512, 512},     {256, 1024, 1024}, {512, 512, 512},
                                            {1024, 1024, 1024}, {16, 4096, 4096},  {8, 50176, 9},
                                            {16, 12544, 72},    {64, 784, 10},     {64, 10, 784}};

// Integer products: weights of some bits, activations of 8 or fewer.
struct QGemmCase {
  std::int64_t m, n, k;
  int weight_bits = 8;

  // qgemm/w:4g32/a:8/... with scales per group of 32, w:8p with weights small enough for a proof.
  std::string name(int act_bits, const char* isa, bool cold, std::int64_t group = 0,
                   bool provable = false) const {
    return "qgemm/w:" + std::to_string(weight_bits) + (group != 0 ? "g" + std::to_string(group) : "") +
           (provable ? "p" : "") + "/a:" + std::to_string(act_bits) + "/" + GemmShape{m, n, k}.name() +
           "/isa:" + isa + "/cold:" + (cold ? "1" : "0");
  }
  double gop() const { return GemmShape{m, n, k}.gflop(); }
};

inline constexpr QGemmCase kQGemmShapes[] = {{1, 4096, 4096},   {16, 4096, 4096}, {64, 512, 512},
                                             {256, 1024, 1024}, {512, 512, 512},  {1024, 1024, 1024}};
// Weights that are also measured from memory: copies that take up so much are passed through in turn.
inline constexpr std::int64_t kLargeWeights = 1 << 24, kColdBytes = std::int64_t{1} << 30;

struct ConvCase {
  const char* name;
  std::int64_t n, c, size, k, window;  // images, channels, height = width, output channels, kernel
  std::int64_t stride, padding, dilation, groups;

  ConvOptions options() const { return {stride, padding, dilation, groups}; }
  std::int64_t out() const { return (size + 2 * padding - dilation * (window - 1) - 1) / stride + 1; }
  double gflop() const {
    return 2e-9 * static_cast<double>(n * k * out() * out()) *
           static_cast<double>(c / groups * window * window);
  }
};

inline constexpr ConvCase kConvCases[] = {
    {"lab_conv1", 64, 1, 28, 8, 3, 1, 1, 1, 1},     {"lab_conv2", 64, 8, 14, 16, 3, 1, 1, 1, 1},
    {"lab_conv2_one", 1, 8, 14, 16, 3, 1, 1, 1, 1}, {"wide", 16, 64, 14, 64, 3, 1, 1, 1, 1},
    {"pointwise", 64, 32, 14, 64, 1, 1, 0, 1, 1},   {"strided", 64, 16, 28, 32, 3, 2, 1, 1, 1},
    {"dilated", 64, 16, 14, 16, 3, 1, 2, 2, 1},     {"grouped", 64, 32, 14, 32, 3, 1, 1, 1, 4},
    {"depthwise", 64, 32, 14, 32, 3, 1, 1, 1, 32}};

struct PoolCase {
  const char* name;
  std::int64_t n, c, size, window;  // stride = window

  std::int64_t out() const { return size / window; }
  double gigabytes() const { return 4e-9 * static_cast<double>(n * c * (size * size + out() * out())); }
};

inline constexpr PoolCase kPoolCases[] = {{"lab_pool1", 64, 8, 28, 2}, {"lab_pool2", 64, 16, 14, 2}};

}  // namespace nibble::bench
