#pragma once

// What the integer kernels compute, as plainly as it can be written: the oracle of their tests. Codes are int32, one a
// code; sums are int64, so that nothing here can overflow.

#include <cstdint>
#include <vector>

namespace nibble::quant::reference {

struct Codes {
  std::int64_t rows, cols;
  std::int32_t zero_point;
  std::vector<std::int32_t> code;

  std::int64_t value(std::int64_t i, std::int64_t j) const {
    return std::int64_t{code[static_cast<std::size_t>(i * cols + j)]} - zero_point;
  }
};

// acc[i, j] = sum over p in [begin, end) of (a[i, p] - zero_point) * (w[j, p] - zero_point)
inline std::int64_t dot(const Codes& a, std::int64_t i, const Codes& w, std::int64_t j, std::int64_t begin,
                        std::int64_t end) {
  std::int64_t sum = 0;
  for (std::int64_t p = begin; p < end; ++p) sum += a.value(i, p) * w.value(j, p);
  return sum;
}

inline std::vector<std::int64_t> qgemm(const Codes& a, const Codes& w) {
  std::vector<std::int64_t> acc;
  for (std::int64_t i = 0; i < a.rows; ++i)
    for (std::int64_t j = 0; j < w.rows; ++j) acc.push_back(dot(a, i, w, j, 0, a.cols));
  return acc;
}

// clamp(round(acc * multiplier / 2^shift) + zero_point, lo, hi), rounding half to even once.
inline std::int64_t requantize(std::int64_t acc, std::int64_t multiplier, int shift, std::int64_t zero_point,
                               std::int64_t lo, std::int64_t hi) {
  const std::int64_t product = acc * multiplier, divisor = std::int64_t{1} << shift;
  std::int64_t quotient = product / divisor, rest = product % divisor;
  if (rest < 0) --quotient, rest += divisor;
  if (2 * rest > divisor || (2 * rest == divisor && quotient % 2 != 0)) ++quotient;
  const std::int64_t code = quotient + zero_point;
  return code < lo ? lo : code > hi ? hi : code;
}

// Windows of images [n, h, w, c], zero_point where they reach over an edge, as rows [n * out_h * out_w, kh * kw * c].
struct Window {
  std::int64_t n, h, w, c, kh, kw, stride, padding, dilation;

  std::int64_t out_h() const { return (h + 2 * padding - dilation * (kh - 1) - 1) / stride + 1; }
  std::int64_t out_w() const { return (w + 2 * padding - dilation * (kw - 1) - 1) / stride + 1; }
};
inline Codes windows(const Codes& images, const Window& g) {
  Codes rows{g.n * g.out_h() * g.out_w(), g.kh * g.kw * g.c, images.zero_point, {}};
  for (std::int64_t i = 0; i < rows.rows; ++i)
    for (std::int64_t p = 0; p < rows.cols; ++p) {
      const std::int64_t image = i / (g.out_h() * g.out_w());
      const std::int64_t y = i / g.out_w() % g.out_h() * g.stride - g.padding + p / (g.kw * g.c) * g.dilation;
      const std::int64_t x = i % g.out_w() * g.stride - g.padding + p / g.c % g.kw * g.dilation;
      const bool inside = y >= 0 && y < g.h && x >= 0 && x < g.w;
      rows.code.push_back(
          inside ? images.code[static_cast<std::size_t>(((image * g.h + y) * g.w + x) * g.c + p % g.c)]
                 : images.zero_point);
    }
  return rows;
}

}  // namespace nibble::quant::reference
