#include "quant/packed_conv2d.h"

#include <algorithm>

#include "tensor/check.h"
#include "tensor/factory.h"

namespace nibble::quant {
namespace {

// Direct kernels want weights in int8. Otherwise as measured (docs/performance.md): they save the matrix of
// windows, and lanes that few output channels would leave empty; but they do not keep weights in registers
// for many pixels, as products of deep windows do, and lanes of strided windows have to be filled first.
// Windows of one pixel are no work.
bool is_direct(const Shape& shape, const ConvOptions& options, const PackOptions& pack) {
  constexpr std::int64_t kLanes = 16, kDeep = 256;
  const bool fits = pack.bit_width < 8 || (pack.is_signed && pack.zero_point == 0);
  if (pack.method != QGemmMethod::automatic || !fits) return false;
  const std::int64_t per_group = shape[0] / options.groups, taps = shape[2] * shape[3];
  if (taps == 1 && options.groups == 1) return false;
  return per_group < kLanes || (options.stride.w == 1 && shape[1] * taps <= kDeep);
}

PackedConv2d::Direct pack_direct(Isa isa, const Tensor& codes, const Tensor& windows,
                                 const ConvOptions& options, const PackOptions& pack, const Tensor& scale) {
  // It checks everything, and takes the sums.
  const PackedMatrix whole(isa, windows, pack, scale);
  const Tensor wide = codes.to(DType::int32).contiguous();
  Tensor values = empty(codes.shape(), DType::int8);
  std::transform(wide.values<std::int32_t>().begin(), wide.values<std::int32_t>().end(),
                 values.mutable_values<std::int8_t>().begin(),
                 [&](std::int32_t code) { return static_cast<std::int8_t>(code - pack.zero_point); });
  const bool bytes = DirectConvWeights::prefers_bytes(codes.size(1), options.groups);
  return {DirectConvWeights(values, options, bytes),
          {whole.column_sums().begin(), whole.column_sums().end()},
          {whole.scale().begin(), whole.scale().end()}};
}

}  // namespace

PackedConv2d::PackedConv2d(const Tensor& codes, const ConvOptions& options, const PackOptions& pack,
                           const Tensor& scale)
    : PackedConv2d(active_isa(), codes, options, pack, scale) {}

PackedConv2d::PackedConv2d(Isa isa, const Tensor& codes, const ConvOptions& options, const PackOptions& pack,
                           const Tensor& scale)
    : isa_(isa), shape_(codes.shape()), options_(options), pack_(pack) {
  // Every check on the shapes but those on the size of images.
  NIBBLE_CHECK(codes.rank() == 4, "PackedConv2d: codes of rank ", codes.rank(),
               ", expected [K, C / groups, R, S]");
  NIBBLE_CHECK(options.groups >= 1 && shape_[0] % options.groups == 0, "PackedConv2d: ", options.groups,
               " groups do not divide ", shape_[0], " output channels");
  NIBBLE_CHECK(!scale.defined() || scale.numel() == 1 || (scale.rank() == 1 && scale.size(0) == shape_[0]),
               "PackedConv2d: scale of shape ", scale.shape(), ", expected [] or [", shape_[0], "]");
  const std::int64_t per_group = shape_[0] / options.groups;
  const Tensor windows = codes.permute({0, 2, 3, 1}).contiguous().reshape({shape_[0], -1});
  if (is_direct(shape_, options, pack)) {
    direct_ = pack_direct(isa, codes, windows, options, pack, scale);
    return;
  }
  for (std::int64_t g = 0; g < options.groups; ++g)
    groups_.emplace_back(
        isa, windows.narrow(0, g * per_group, per_group), pack,
        scale.defined() && scale.numel() > 1 ? scale.narrow(0, g * per_group, per_group) : scale);
}

std::int64_t PackedConv2d::bytes() const {
  if (direct_)
    return direct_->weights.size_bytes() +
           static_cast<std::int64_t>(4 * (direct_->column_sums.size() + direct_->scale.size()));
  std::int64_t sum = 0;
  for (const PackedMatrix& group : groups_) sum += group.bytes();
  return sum;
}

}  // namespace nibble::quant
