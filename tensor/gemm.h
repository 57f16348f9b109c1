#pragma once

#include <cstdint>
#include <memory>

namespace nibble {

class Storage;
struct GemmKernels;

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
// sum: every element is one chain of multiply-adds over k, which begins at zero, or at c if it accumulates.
void gemm(std::int64_t m, std::int64_t n, std::int64_t k, MatrixRef<const float> a, MatrixRef<const float> b,
          MatrixRef<float> c, const GemmOptions& options = {});

// The right operand of a product, k x n, in the order in which the kernels of the active tier read it: for
// weights that many products share. The same bits come out.
class PackedB {
 public:
  PackedB(std::int64_t k, std::int64_t n, MatrixRef<const float> b);
  PackedB(const GemmKernels& kernels, std::int64_t k, std::int64_t n, MatrixRef<const float> b);

  std::int64_t k() const { return k_; }
  std::int64_t n() const { return n_; }
  const GemmKernels& kernels() const { return *kernels_; }
  std::int64_t steps() const { return steps_; }  // parts into which k is cut
  // The panel that begins at row p and column j: `depth` rows of it.
  const float* panel(std::int64_t p, std::int64_t j, std::int64_t depth) const;

 private:
  const GemmKernels* kernels_;
  std::int64_t k_, n_, padded_n_, steps_;
  std::shared_ptr<Storage> storage_;
};

// c[m, b.n()] = a[m, b.k()] b; c has unit column stride.
void gemm(std::int64_t m, MatrixRef<const float> a, const PackedB& b, MatrixRef<float> c,
          const GemmOptions& options = {});

// The same on the kernels of a tier that is not the active one.
void gemm(const GemmKernels& kernels, std::int64_t m, std::int64_t n, std::int64_t k,
          MatrixRef<const float> a, MatrixRef<const float> b, MatrixRef<float> c,
          const GemmOptions& options = {});

}  // namespace nibble
