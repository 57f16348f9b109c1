#pragma once

#include <cstdint>

namespace nibble {

// A matrix in memory; strides in elements, of any size and order.
template <class T>
struct MatrixRef {
  T* data;
  std::int64_t row_stride;
  std::int64_t col_stride;

  MatrixRef transposed() const { return {data, col_stride, row_stride}; }
};

struct GemmOptions {
  bool accumulate = false;          // c += instead of c =
  const float* row_bias = nullptr;  // m values, added to the rows of the result
  const float* col_bias = nullptr;  // n values, added to its columns
  bool relu = false;                // last
};

// c[m, n] = a[m, k] b[k, n]: the one matrix product behind matmul, linear and the general convolution. c must
// have unit stride in one direction (else std::invalid_argument). Threads share the elements of c, never a
// sum: every element is added up over k in one order that depends on k alone.
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, MatrixRef<const float> a, MatrixRef<const float> b,
          MatrixRef<float> c, const GemmOptions& options = {});

// The same on the kernels of a tier that is not the active one.
struct GemmKernels;
void gemm(const GemmKernels& kernels, std::int64_t m, std::int64_t n, std::int64_t k,
          MatrixRef<const float> a, MatrixRef<const float> b, MatrixRef<float> c,
          const GemmOptions& options = {});

}  // namespace nibble
