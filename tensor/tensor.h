#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "tensor/dtype.h"
#include "tensor/shape.h"
#include "tensor/storage.h"

namespace nibble {

// A strided view of a Storage. Copying a Tensor copies the handle, not the elements; clone() copies elements.
// Dimensions may be given from the end (-1 is the last). Logical order of image tensors is NCHW; how it lies
// in memory is told by the strides alone.
class Tensor {
 public:
  Tensor() = default;  // undefined: no storage, no shape
  Tensor(std::shared_ptr<Storage> storage, Shape shape, Strides strides, std::int64_t offset, DType dtype);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  const Strides& strides() const { return strides_; }
  std::int64_t offset() const { return offset_; }  // of the first element in the storage, in elements
  int rank() const { return shape_.rank(); }
  std::int64_t size(int dim) const;
  std::int64_t numel() const { return numel_; }
  DType dtype() const { return dtype_; }
  bool is_contiguous() const;  // row-major without gaps

  // Address of the first element. Throws when T is not the dtype.
  template <class T>
  const T* data() const {
    check_dtype(dtype_of<T>());
    return static_cast<const T*>(address());
  }
  // Same, for writing: counts as an in-place change of the storage.
  template <class T>
  T* mutable_data() {
    check_dtype(dtype_of<T>());
    storage_->bump_version();
    return static_cast<T*>(const_cast<void*>(address()));
  }
  // All elements in row-major order; throws unless contiguous.
  template <class T>
  std::span<const T> values() const {
    check_contiguous();
    return {data<T>(), static_cast<std::size_t>(numel_)};
  }
  template <class T>
  std::span<T> mutable_values() {
    check_contiguous();
    return {mutable_data<T>(), static_cast<std::size_t>(numel_)};
  }
  // The only element, converted to double; throws unless numel() == 1.
  double item() const;

  const std::shared_ptr<Storage>& storage() const { return storage_; }

  // Views: share the storage.
  Tensor permute(const Shape& order) const;
  Tensor transpose(int a, int b) const;
  Tensor narrow(int dim, std::int64_t start, std::int64_t length) const;
  Tensor select(int dim, std::int64_t index) const;  // drops the dimension
  Tensor broadcast_to(const Shape& shape) const;
  Tensor unsqueeze(int dim) const;
  Tensor squeeze(int dim) const;
  // One size may be -1 (inferred). A view where the strides allow it, else a copy.
  Tensor reshape(const Shape& shape) const;
  Tensor flatten(int start_dim = 0) const;

  Tensor contiguous() const;     // *this if contiguous already
  Tensor clone() const;          // always a contiguous copy
  Tensor to(DType dtype) const;  // *this if it has the dtype; float to integer truncates as static_cast does

  // In place, with broadcasting of `source`, converting its dtype. Throws when it does not fit.
  void copy_from(const Tensor& source);
  void fill(double value);

 private:
  const void* address() const;
  void check_dtype(DType wanted) const;
  void check_contiguous() const;

  std::shared_ptr<Storage> storage_;
  Shape shape_;
  Strides strides_;
  std::int64_t offset_ = 0;  // elements
  std::int64_t numel_ = 0;
  DType dtype_ = DType::float32;
};

}  // namespace nibble
