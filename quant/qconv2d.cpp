#include "quant/qconv2d.h"

#include <algorithm>
#include <cstring>

#include "quant/kernels/bits.h"
#include "quant/row_source.h"
#include "tensor/check.h"
#include "tensor/divide_up.h"
#include "tensor/storage.h"

namespace nibble::quant {
namespace {

// A few bytes are copied before memcpy has found out how many they are.
void copy(const std::uint8_t* from, std::uint8_t* to, std::size_t n) {
  constexpr std::size_t kFew = 8;
  if (n >= kFew) {
    std::memcpy(to, from, n);
    return;
  }
  for (std::size_t i = 0; i < n; ++i) to[i] = from[i];
}

// One output pixel a row: its window of the channels of one group.
class WindowRows : public RowSource {
 public:
  WindowRows(const ActImages& x, const PackedConv2d& w, const std::uint8_t* codes, std::int64_t group,
             const Shape& out)
      : x_(x),
        w_(w),
        channels_(x.channels / w.options().groups),
        first_(codes + group * channels_),
        out_height_(out[2]),
        out_width_(out[3]) {}

  const std::uint8_t* row(std::int64_t i, std::uint8_t* scratch) const override {
    const ConvOptions& o = w_.options();
    const std::int64_t line = i / out_width_, image = line / out_height_;
    const std::int64_t top = (line - image * out_height_) * o.stride.h - o.padding.h;
    const std::int64_t left = (i - line * out_width_) * o.stride.w - o.padding.w;
    std::uint8_t* out = scratch;
    for (std::int64_t r = 0; r < w_.weight_shape()[2]; ++r) {
      const std::int64_t y = top + r * o.dilation.h;
      const bool inside = y >= 0 && y < x_.height;
      out = inside ? copy_line(first_ + (image * x_.height + y) * x_.width * x_.channels, left, out)
                   : pad(out, w_.weight_shape()[3]);
    }
    return scratch;
  }

 private:
  std::uint8_t* pad(std::uint8_t* out, std::int64_t pixels) const {
    if (pixels == 0) return out;
    std::memset(out, x_.format.zero_point, static_cast<std::size_t>(pixels * channels_));
    return out + pixels * channels_;
  }

  std::uint8_t* copy_line(const std::uint8_t* line, std::int64_t left, std::uint8_t* out) const {
    const std::int64_t step = w_.options().dilation.w, window = w_.weight_shape()[3];
    // Pixels [begin, end) of the window lie in the image: mostly all, which is known without a division.
    std::int64_t begin = 0, end = window;
    if (left < 0) begin = std::min(window, divide_up(-left, step));
    if (left + (window - 1) * step >= x_.width)
      end = std::max(begin, left < x_.width ? divide_up(x_.width - left, step) : 0);
    out = pad(out, begin);
    const std::uint8_t* const from = line + (left + begin * step) * x_.channels;
    const auto count = static_cast<std::size_t>(channels_);
    if (step == 1 && channels_ == x_.channels) {
      copy(from, out, count * static_cast<std::size_t>(end - begin));
    } else {
      for (std::int64_t s = 0; s < end - begin; ++s)
        copy(from + s * step * x_.channels, out + s * channels_, count);
    }
    return pad(out + (end - begin) * channels_, window - end);
  }

  const ActImages& x_;
  const PackedConv2d& w_;
  const std::int64_t channels_;
  const std::uint8_t* const first_;
  const std::int64_t out_height_, out_width_;
};

// The part of a per-channel array that belongs to a group.
template <class T>
const T* from(const T* values, std::int64_t first) {
  return values == nullptr ? nullptr : values + first;
}
QGemmOutput part(const QGemmOutput& out, std::int64_t first) {
  QGemmOutput result = out;
  if (auto* ints = std::get_if<ToInt32>(&result)) {
    ints->bias = from(ints->bias, first);
  } else if (auto* floats = std::get_if<ToFloat>(&result)) {
    floats->bias = from(floats->bias, first);
  } else if (auto* codes = std::get_if<ToCodes>(&result)) {
    codes->bias = from(codes->bias, first);
    codes->multiplier += first;
    codes->shift += first;
  }
  return result;
}

}  // namespace

PackedConv2d::PackedConv2d(const Tensor& codes, const ConvOptions& options, const PackOptions& pack,
                           const Tensor& scale)
    : PackedConv2d(active_isa(), codes, options, pack, scale) {}

PackedConv2d::PackedConv2d(Isa isa, const Tensor& codes, const ConvOptions& options, const PackOptions& pack,
                           const Tensor& scale)
    : shape_(codes.shape()), options_(options) {
  // Every check on the shapes but those on the size of images.
  NIBBLE_CHECK(codes.rank() == 4, "PackedConv2d: codes of rank ", codes.rank(),
               ", expected [K, C / groups, R, S]");
  NIBBLE_CHECK(options.groups >= 1 && shape_[0] % options.groups == 0, "PackedConv2d: ", options.groups,
               " groups do not divide ", shape_[0], " output channels");
  NIBBLE_CHECK(!scale.defined() || scale.numel() == 1 || (scale.rank() == 1 && scale.size(0) == shape_[0]),
               "PackedConv2d: scale of shape ", scale.shape(), ", expected [] or [", shape_[0], "]");
  const std::int64_t per_group = shape_[0] / options.groups;
  const Tensor windows = codes.permute({0, 2, 3, 1}).contiguous().reshape({shape_[0], -1});
  for (std::int64_t g = 0; g < options.groups; ++g)
    groups_.emplace_back(
        isa, windows.narrow(0, g * per_group, per_group), pack,
        scale.defined() && scale.numel() > 1 ? scale.narrow(0, g * per_group, per_group) : scale);
}

std::int64_t PackedConv2d::bytes() const {
  std::int64_t sum = 0;
  for (const PackedMatrix& group : groups_) sum += group.bytes();
  return sum;
}

void qconv2d(const ActImages& images, const PackedConv2d& weights, const QGemmOutput& out) {
  const ConvOptions& o = weights.options();
  const Shape shape =
      conv2d_shape({images.n, images.channels, images.height, images.width}, weights.weight_shape(), o);
  NIBBLE_CHECK(!images.format.is_binary || o.padding == Size2(0),
               "qconv2d: binary activations have no zero to pad with");
  const std::int64_t per_group = shape[1] / o.groups;
  if (const auto* codes = std::get_if<ToCodes>(&out))
    NIBBLE_CHECK(o.groups == 1 || per_group * codes->bit_width % 8 == 0, "qconv2d: ", per_group,
                 " channels of ", codes->bit_width, " bits a group do not fill whole bytes");
  const std::int64_t rows = shape[0] * shape[2] * shape[3];

  const std::uint8_t* codes = images.data;
  std::shared_ptr<Storage> unpacked;
  if (images.format.bit_width < 8) {
    const auto count = static_cast<std::size_t>(images.n * images.height * images.width * images.channels);
    unpacked = Storage::allocate(count);
    auto* const bytes = reinterpret_cast<std::uint8_t*>(unpacked->data());
    bits_kernels(weights.groups().front().isa()).unpack(images.data, count, images.format.bit_width, bytes);
    if (images.format.is_binary)
      for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(2 * bytes[i]);
    codes = bytes;
  }
  for (std::int64_t g = 0; g < o.groups; ++g)
    qgemm(rows, WindowRows(images, weights, codes, g, shape), images.format,
          weights.groups()[static_cast<std::size_t>(g)], part(out, g * per_group), g * per_group);
}

}  // namespace nibble::quant
