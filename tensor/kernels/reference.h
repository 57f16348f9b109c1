#pragma once

// Scalar templates that serve every dtype without kernels of its own and are the oracle of the kernel tests.
// `Acc` is the type in which sums are kept.

#include <cmath>
#include <cstdint>

namespace nibble::reference {

// c[m,n] (+)= a[m,k] b[k,n], strides in elements.
template <class T, class Acc = T>
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, const T* a, std::int64_t a_row, std::int64_t a_col,
          const T* b, std::int64_t b_row, std::int64_t b_col, T* c, std::int64_t c_row, std::int64_t c_col,
          bool accumulate) {
  for (std::int64_t i = 0; i < m; ++i)
    for (std::int64_t j = 0; j < n; ++j) {
      Acc sum = accumulate ? static_cast<Acc>(c[i * c_row + j * c_col]) : Acc{0};
      for (std::int64_t p = 0; p < k; ++p)
        sum += static_cast<Acc>(a[i * a_row + p * a_col]) * static_cast<Acc>(b[p * b_row + j * b_col]);
      c[i * c_row + j * c_col] = static_cast<T>(sum);
    }
}

template <class T, class Acc = T>
Acc sum(const T* x, std::int64_t step, std::int64_t n) {
  Acc total{0};
  for (std::int64_t i = 0; i < n; ++i) total += static_cast<Acc>(x[i * step]);
  return total;
}

// Position of the first maximum (of the first NaN, if there is one) of n > 0 values.
template <class T>
std::int64_t argmax(const T* x, std::int64_t step, std::int64_t n) {
  std::int64_t best = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const T value = x[i * step];
    if (value != value) return i;
    if (value > x[best * step]) best = i;
  }
  return best;
}

// One line of n > 0 values each. y may be x.
template <class T>
void softmax(const T* x, std::int64_t x_step, T* y, std::int64_t y_step, std::int64_t n) {
  const T shift = x[argmax(x, x_step, n) * x_step];
  T total{0};
  for (std::int64_t i = 0; i < n; ++i) total += y[i * y_step] = std::exp(x[i * x_step] - shift);
  for (std::int64_t i = 0; i < n; ++i) y[i * y_step] /= total;
}

template <class T>
void log_softmax(const T* x, std::int64_t x_step, T* y, std::int64_t y_step, std::int64_t n) {
  const T shift = x[argmax(x, x_step, n) * x_step];
  T total{0};
  for (std::int64_t i = 0; i < n; ++i) total += std::exp(x[i * x_step] - shift);
  const T log_total = std::log(total);
  for (std::int64_t i = 0; i < n; ++i) y[i * y_step] = x[i * x_step] - shift - log_total;
}

template <class T>
void softmax_backward(const T* grad, std::int64_t grad_step, const T* y, std::int64_t y_step, T* out,
                      std::int64_t out_step, std::int64_t n) {
  T dot{0};
  for (std::int64_t i = 0; i < n; ++i) dot += grad[i * grad_step] * y[i * y_step];
  for (std::int64_t i = 0; i < n; ++i) out[i * out_step] = y[i * y_step] * (grad[i * grad_step] - dot);
}

template <class T>
void log_softmax_backward(const T* grad, std::int64_t grad_step, const T* y, std::int64_t y_step, T* out,
                          std::int64_t out_step, std::int64_t n) {
  const T total = sum(grad, grad_step, n);
  for (std::int64_t i = 0; i < n; ++i)
    out[i * out_step] = grad[i * grad_step] - std::exp(y[i * y_step]) * total;
}

}  // namespace nibble::reference
