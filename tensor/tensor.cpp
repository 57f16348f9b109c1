#include "tensor/tensor.h"

#include <cmath>
#include <cstring>
#include <optional>

#include "tensor/factory.h"
#include "tensor/kernels/transpose.h"
#include "tensor/layout.h"
#include "tensor/loop.h"

namespace nibble {

Tensor::Tensor(std::shared_ptr<Storage> storage, Shape shape, Strides strides, std::int64_t offset,
               DType dtype)
    : storage_(std::move(storage)),
      shape_(shape),
      strides_(strides),
      offset_(offset),
      numel_(shape.numel()),
      dtype_(dtype) {}

std::int64_t Tensor::size(int dim) const { return shape_[normalize_dim("size", dim, rank())]; }

bool Tensor::is_contiguous() const {
  std::int64_t expected = 1;
  for (int i = rank() - 1; i >= 0; --i) {
    if (shape_[i] != 1 && strides_[i] != expected) return numel_ == 0;
    expected *= shape_[i];
  }
  return true;
}

const void* Tensor::address() const {
  return storage_->data() + offset_ * static_cast<std::int64_t>(size_of(dtype_));
}

void Tensor::check_dtype(DType wanted) const {
  NIBBLE_CHECK(defined(), "tensor: access to an undefined tensor");
  NIBBLE_CHECK(dtype_ == wanted, "tensor: accessed as ", wanted, ", but its dtype is ", dtype_);
}

void Tensor::check_contiguous() const {
  NIBBLE_CHECK(is_contiguous(), "tensor: values() of a tensor that is not contiguous; shape ", shape_,
               ", strides ", strides_);
}

double Tensor::item() const {
  NIBBLE_CHECK(defined() && numel_ == 1, "item: tensor has shape ", shape_, ", expected one element");
  return visit(dtype_, [&](auto type) { return static_cast<double>(*data<decltype(type)>()); });
}

Tensor Tensor::permute(const Shape& order) const {
  NIBBLE_CHECK(order.rank() == rank(), "permute: order ", order, " for shape ", shape_);
  Shape shape = shape_;
  Strides strides = strides_;
  unsigned seen = 0;
  for (int i = 0; i < rank(); ++i) {
    const int from = normalize_dim("permute", static_cast<int>(order[i]), rank());
    NIBBLE_CHECK(!(seen >> from & 1u), "permute: dim ", from, " occurs twice in ", order);
    seen |= 1u << from;
    shape[i] = shape_[from];
    strides[i] = strides_[from];
  }
  return Tensor(storage_, shape, strides, offset_, dtype_);
}

Tensor Tensor::transpose(int a, int b) const {
  Shape order = shape_;
  for (int i = 0; i < rank(); ++i) order[i] = i;
  std::swap(order[normalize_dim("transpose", a, rank())], order[normalize_dim("transpose", b, rank())]);
  return permute(order);
}

Tensor Tensor::narrow(int dim, std::int64_t start, std::int64_t length) const {
  dim = normalize_dim("narrow", dim, rank());
  NIBBLE_CHECK(start >= 0 && length >= 0 && start <= shape_[dim] - length, "narrow: [", start, ", ", start,
               " + ", length, ") is outside dim ", dim, " of shape ", shape_);
  Shape shape = shape_;
  shape[dim] = length;
  return Tensor(storage_, shape, strides_, offset_ + start * strides_[dim], dtype_);
}

Tensor Tensor::select(int dim, std::int64_t index) const {
  dim = normalize_dim("select", dim, rank());
  NIBBLE_CHECK(index >= 0 && index < shape_[dim], "select: index ", index, " is outside dim ", dim,
               " of shape ", shape_);
  return Tensor(storage_, shape_.erased(dim), strides_.erased(dim), offset_ + index * strides_[dim], dtype_);
}

Tensor Tensor::broadcast_to(const Shape& shape) const {
  NIBBLE_CHECK(broadcast_shapes("broadcast_to", shape_, shape) == shape, "broadcast_to: shape ", shape_,
               " does not broadcast to ", shape);
  Strides strides = Shape::filled(shape.rank(), 0);
  const int missing = shape.rank() - rank();
  for (int i = 0; i < rank(); ++i) strides[missing + i] = shape_[i] == 1 ? 0 : strides_[i];
  return Tensor(storage_, shape, strides, offset_, dtype_);
}

Tensor Tensor::unsqueeze(int dim) const {
  dim = normalize_dim("unsqueeze", dim, rank() + 1);
  return Tensor(storage_, shape_.inserted(dim, 1), strides_.inserted(dim, 0), offset_, dtype_);
}

Tensor Tensor::squeeze(int dim) const {
  dim = normalize_dim("squeeze", dim, rank());
  NIBBLE_CHECK(shape_[dim] == 1, "squeeze: dim ", dim, " of shape ", shape_, " is not 1");
  return select(dim, 0);
}

namespace {

// Strides that give `to` the elements of (from, strides) in the same row-major order, if there are any: each
// run of dimensions that lies back to back may be cut anew.
std::optional<Strides> view_strides(const Shape& from, const Strides& strides, const Shape& to) {
  if (from.numel() == 0) return contiguous_strides(to);
  Strides result = Shape::filled(to.rank(), 1);
  int next = to.rank() - 1;  // sizes of `to` are handed out from the right
  for (int i = from.rank() - 1; i >= 0; --i) {
    if (from[i] == 1) continue;
    std::int64_t run = from[i];
    const std::int64_t step = strides[i];
    while (i > 0 && (from[i - 1] == 1 || strides[i - 1] == run * step)) run *= from[--i];
    std::int64_t given = 1;
    while (given < run && next >= 0) {
      result[next] = step * given;
      given *= to[next--];
    }
    if (given != run) return std::nullopt;
  }
  return result;
}

}  // namespace

Tensor Tensor::reshape(const Shape& wanted) const {
  Shape shape = wanted;
  int inferred = -1;
  std::int64_t known = 1;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] != -1) {
      known *= shape[i];
      continue;
    }
    NIBBLE_CHECK(inferred < 0, "reshape: more than one -1 in ", wanted);
    inferred = i;
  }
  if (inferred >= 0) {
    NIBBLE_CHECK(known > 0 && numel_ % known == 0, "reshape: shape ", shape_, " does not fit ", wanted);
    shape[inferred] = numel_ / known;
  }
  NIBBLE_CHECK(shape.numel() == numel_, "reshape: shape ", shape_, " has ", numel_, " elements, ", wanted,
               " has ", shape.numel());
  if (const auto strides = view_strides(shape_, strides_, shape))
    return Tensor(storage_, shape, *strides, offset_, dtype_);
  const Tensor source = clone();
  return Tensor(source.storage_, shape, contiguous_strides(shape), 0, dtype_);
}

Tensor Tensor::flatten(int start_dim) const {
  if (rank() == 0) return reshape({1});
  start_dim = normalize_dim("flatten", start_dim, rank());
  Shape shape(std::span(shape_.begin(), static_cast<std::size_t>(start_dim)));
  std::int64_t rest = 1;
  for (int i = start_dim; i < rank(); ++i) rest *= shape_[i];
  return reshape(shape.inserted(start_dim, rest));
}

Tensor Tensor::contiguous() const { return is_contiguous() ? *this : clone(); }

Tensor Tensor::clone() const {
  Tensor result = empty(shape_, dtype_);
  result.copy_from(*this);
  return result;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  Tensor result = empty(shape_, dtype);
  result.copy_from(*this);
  return result;
}

namespace {

// Whether rows of the result are columns of a matrix with rows of the source.
bool is_transposition(const Loop<2>& loop) {
  return loop.outer.rank() == 1 && loop.step[0] == 1 && loop.step[1] > 1 && loop.outer_strides[0][0] > 1 &&
         loop.outer_strides[1][0] == 1;
}

void copy_transposed(const Loop<2>& loop, const float* in, float* out) {
  constexpr std::int64_t kRows = 64;  // of the source: some tens of KiB, read once and turned from L1
  const std::int64_t out_step = loop.outer_strides[0][0], in_step = loop.step[1], columns = loop.outer[0];
  parallel_for((loop.row + kRows - 1) / kRows, std::max<std::int64_t>(1, 16384 / (kRows * columns)),
               [&](std::int64_t begin, std::int64_t end) {
                 for (std::int64_t row = begin * kRows; row < std::min(end * kRows, loop.row); row += kRows)
                   transpose_kernels().transpose(in + row * in_step, static_cast<std::size_t>(in_step),
                                                 static_cast<std::size_t>(std::min(kRows, loop.row - row)),
                                                 static_cast<std::size_t>(columns), out + row,
                                                 static_cast<std::size_t>(out_step));
               });
}

}  // namespace

void Tensor::copy_from(const Tensor& source) {
  NIBBLE_CHECK(defined() && source.defined(), "copy_from: undefined tensor");
  if (numel_ == 0 && source.broadcast_to(shape_).numel() == 0) return;
  NIBBLE_CHECK(!is_broadcast(*this), "copy_from: the target is a broadcast view of shape ", shape_,
               ", strides ", strides_, "; expected elements of its own");
  const Tensor from = source.storage_ == storage_ ? source.clone() : source;
  const auto loop = make_loop<2>(shape_, {strides_, from.broadcast_to(shape_).strides()});
  if (dtype_ == DType::float32 && from.dtype() == DType::float32 && is_transposition(loop))
    return copy_transposed(loop, from.data<float>(), mutable_data<float>());
  visit(dtype_, [&](auto to_type) {
    using To = decltype(to_type);
    To* const out = mutable_data<To>();
    visit(from.dtype(), [&](auto from_type) {
      using From = decltype(from_type);
      const From* const in = from.data<From>();
      for_each_row(loop, [&](const auto& offsets, std::int64_t n) {
        const std::int64_t out_step = loop.step[0], in_step = loop.step[1];
        To* o = out + offsets[0];
        const From* i = in + offsets[1];
        if (std::is_same_v<To, From> && out_step == 1 && in_step == 1) {
          std::memcpy(o, i, static_cast<std::size_t>(n) * sizeof(To));
        } else {
          for (std::int64_t k = 0; k < n; ++k) o[k * out_step] = static_cast<To>(i[k * in_step]);
        }
      });
    });
  });
}

void Tensor::fill(double value) {
  NIBBLE_CHECK(defined(), "fill: undefined tensor");
  NIBBLE_CHECK(!is_broadcast(*this), "fill: the target is a broadcast view of shape ", shape_, ", strides ",
               strides_, "; expected elements of its own");
  const auto loop = make_loop<1>(shape_, {strides_});
  visit(dtype_, [&](auto type) {
    using T = decltype(type);
    T* const out = mutable_data<T>();
    for_each_row(loop, [&](const auto& offsets, std::int64_t n) {
      if (loop.step[0] == 1 && value == 0 && !std::signbit(value)) {
        std::memset(out + offsets[0], 0, static_cast<std::size_t>(n) * sizeof(T));
        return;
      }
      for (std::int64_t k = 0; k < n; ++k) out[offsets[0] + k * loop.step[0]] = static_cast<T>(value);
    });
  });
}

}  // namespace nibble
