#include "quant/qconv2d.h"

#include <algorithm>
#include <cstring>

#include "quant/epilogue.h"
#include "quant/kernels/bits.h"
#include "quant/row_source.h"
#include "quant/stored_activations.h"
#include "tensor/check.h"
#include "tensor/divide_up.h"
#include "tensor/kernels/transpose.h"
#include "tensor/parallel.h"
#include "tensor/storage.h"

namespace nibble::quant {
namespace {

constexpr std::int64_t kWorkPerThread = 1 << 21;  // multiplications

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

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

// Images one by one by direct kernels.
class DirectImages {
 public:
  DirectImages(const ActImages& x, const std::uint8_t* codes, const PackedConv2d& w, const QGemmOutput& out)
      : x_(x),
        codes_(codes),
        direct_(*w.direct()),
        conv_(w.isa(), direct_.weights, {x.channels, x.height, x.width}),
        layout_(conv_.input()),
        transpose_(transpose_kernels(w.isa()).transpose),
        channels_(w.weight_shape()[0]),
        stored_(x.format, direct_conv_kernels(w.isa()).signed_activations),
        epilogue_(w.isa(), {channels_, direct_.column_sums, direct_.scale, {}}, stored_.zero_point,
                  x.format.scale, out),
        pairs_depth_(direct_.weights.pairs_depth(x.format.is_binary ? 2 : (1 << x.format.bit_width) - 1)) {}

  void run(std::int64_t begin, std::int64_t end) const {
    const std::int64_t band = conv_.band_rows() * conv_.out_width() * channels_;
    const auto input = Storage::allocate(size(layout_.elements() * element_bytes())),
               words = Storage::allocate(size(conv_.scratch_words() * 4)),
               acc = Storage::allocate(size(conv_.channel_stride() * 4 * 4)),
               rows = Storage::allocate(size(band * 4)), scratch = Storage::allocate(size(band));
    // The border stays, images change.
    std::memset(input->data(), stored_.zero_point, size(layout_.elements() * element_bytes()));
    for (std::int64_t i = begin; i < end; ++i) {
      place(i, reinterpret_cast<std::uint8_t*>(input->data()));
      run_image(i, conv_.words_of(input->data(), reinterpret_cast<std::uint32_t*>(words->data())),
                reinterpret_cast<std::int32_t*>(acc->data()), reinterpret_cast<std::int32_t*>(rows->data()),
                reinterpret_cast<std::uint8_t*>(scratch->data()));
    }
  }

 private:
  std::int64_t element_bytes() const { return direct_.weights.bytes() ? 1 : 4; }

  // Image i in planes.
  void place(std::int64_t i, std::uint8_t* out) const {
    const std::int64_t step = x_.channels, per_element = element_bytes();
    const std::uint32_t flip = stored_.flip * 0x01010101u;
    for (std::int64_t p = 0; p < layout_.planes; ++p)
      for (std::int64_t y = 0; y < x_.height; ++y) {
        const std::uint8_t* from = codes_ + (i * x_.height + y) * x_.width * step + p * per_element;
        std::uint8_t* to = out + layout_.at(p, y, 0) * per_element;
        if (per_element == 1) {
          for (std::int64_t x = 0; x < x_.width; ++x, from += step) *to++ = *from ^ stored_.flip;
          continue;
        }
        const std::int64_t present = std::min<std::int64_t>(4, step - 4 * p);
        for (std::int64_t x = 0; x < x_.width; ++x, from += step, to += 4) {
          std::uint32_t word = 0;
          if (present == 4)
            std::memcpy(&word, from, 4);
          else
            for (std::int64_t c = 0; c < present; ++c) word |= std::uint32_t{from[c]} << (8 * c);
          word ^= flip;
          std::memcpy(to, &word, 4);
        }
      }
  }

  void run_image(std::int64_t i, const std::uint32_t* words, std::int32_t* acc, std::int32_t* rows,
                 std::uint8_t* scratch) const {
    static constexpr std::int32_t kNothing[4] = {};
    const std::int64_t width = conv_.out_width();
    for (std::int64_t y = 0; y < conv_.out_height(); y += conv_.band_rows()) {
      const std::int64_t height = std::min(conv_.band_rows(), conv_.out_height() - y);
      for (std::int64_t q = 0; q < direct_.weights.quads(); ++q) {
        conv_.sums(direct_.weights, q, words, y, height, kNothing, pairs_depth_, acc);
        // Pixels by channels; what is moved are bits, whatever their type.
        for (std::int64_t r = 0; r < height; ++r)
          transpose_(reinterpret_cast<const float*>(acc + r * conv_.pitch()), size(conv_.channel_stride()),
                     size(std::min<std::int64_t>(4, channels_ - 4 * q)), size(width),
                     reinterpret_cast<float*>(rows + r * width * channels_ + 4 * q), size(channels_));
      }
      epilogue_.write({.acc = rows,
                       .scaled = nullptr,
                       .stride = channels_,
                       .i = (i * conv_.out_height() + y) * width,
                       .j = 0,
                       .rows = height * width,
                       .cols = channels_},
                      scratch);
    }
  }

  const ActImages& x_;
  const std::uint8_t* const codes_;
  const PackedConv2d::Direct& direct_;
  const DirectConv conv_;
  const PlaneLayout& layout_;
  void (*const transpose_)(const float*, std::size_t, std::size_t, std::size_t, float*, std::size_t) noexcept;
  const std::int64_t channels_;
  const StoredActivations stored_;
  const Epilogue epilogue_;
  const std::size_t pairs_depth_;
};

}  // namespace

void qconv2d(const ActImages& images, const PackedConv2d& weights, const QGemmOutput& out) {
  const ConvOptions& o = weights.options();
  const Shape shape =
      conv2d_shape({images.n, images.channels, images.height, images.width}, weights.weight_shape(), o);
  NIBBLE_CHECK(!images.format.is_binary || o.padding == Size2(0),
               "qconv2d: binary activations have no zero to pad with");
  check_activations(images.format, weights.pack_options());
  const std::uint8_t* codes = images.data;
  std::shared_ptr<Storage> unpacked;
  if (images.format.bit_width < 8) {
    const auto count = static_cast<std::size_t>(images.n * images.height * images.width * images.channels);
    unpacked = Storage::allocate(count);
    auto* const bytes = reinterpret_cast<std::uint8_t*>(unpacked->data());
    bits_kernels(weights.isa()).unpack(images.data, count, images.format.bit_width, bytes);
    if (images.format.is_binary)
      for (std::size_t i = 0; i < count; ++i) bytes[i] = static_cast<std::uint8_t>(2 * bytes[i]);
    codes = bytes;
  }
  if (weights.direct()) {
    const DirectImages job(images, codes, weights, out);
    const std::int64_t work = shape[2] * shape[3] * weights.weight_shape().numel();
    parallel_for(images.n, divide_up(kWorkPerThread, work),
                 [&](std::int64_t begin, std::int64_t end) { job.run(begin, end); });
    return;
  }
  const std::int64_t rows = shape[0] * shape[2] * shape[3], per_group = shape[1] / o.groups;
  if (const auto* to = std::get_if<ToCodes>(&out))
    NIBBLE_CHECK(o.groups == 1 || per_group * to->bit_width % 8 == 0, "qconv2d: ", per_group, " channels of ",
                 to->bit_width, " bits a group do not fill whole bytes");
  for (std::int64_t g = 0; g < o.groups; ++g)
    qgemm(rows, WindowRows(images, weights, codes, g, shape), images.format,
          weights.groups()[static_cast<std::size_t>(g)], part(out, g * per_group), g * per_group);
}

}  // namespace nibble::quant
