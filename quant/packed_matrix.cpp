#include "quant/packed_matrix.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "tensor/check.h"
#include "tensor/divide_up.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"

namespace nibble::quant {
namespace {

constexpr std::int64_t kMaxInt32 = std::numeric_limits<std::int32_t>::max();
constexpr std::int64_t kMaxByte = 255;  // of an activation

const PackOptions& checked(const PackOptions& o) {
  NIBBLE_CHECK(o.bit_width == 1 || o.bit_width == 2 || o.bit_width == 4 || o.bit_width == 8,
               "PackedMatrix: weights of ", o.bit_width, " bits, expected 1, 2, 4 or 8");
  NIBBLE_CHECK(o.act_bits >= 1 && o.act_bits <= 8, "PackedMatrix: activations of ", o.act_bits,
               " bits, expected 1 to 8");
  NIBBLE_CHECK(o.method != QGemmMethod::bitserial || (o.bit_width <= 2 && o.act_bits <= 2),
               "PackedMatrix: bit-serial products of ", o.bit_width, "-bit weights and ", o.act_bits,
               "-bit activations, expected at most 2 bits each");
  return o;
}

// Codes that are not binary lie in [lowest, lowest + 2^b - 1].
std::int32_t lowest_code(const PackOptions& o) { return o.is_signed ? -(1 << (o.bit_width - 1)) : 0; }
std::int32_t highest_code(const PackOptions& o) { return lowest_code(o) + (1 << o.bit_width) - 1; }

// code + offset is what a panel holds: unsigned for fewer than 8 bits, int8 for 8. (Binary: (code + 1) / 2.)
std::int32_t storage_offset(const PackOptions& o) {
  if (o.bit_width == 8) return o.is_signed ? 0 : -128;
  return o.is_signed ? 1 << (o.bit_width - 1) : 0;
}

// Two planes of bits cost twice as many population counts. Measured at 1024^3 (docs/kernels.md): counting
// beats byte products where the processor counts in vectors and few planes meet.
QGemmMethod choose(Isa isa, const PackOptions& o) {
  if (o.method != QGemmMethod::automatic) return o.method;
  if (o.bit_width > 2 || o.act_bits > 2) return QGemmMethod::dot;
  const int plane_pairs = o.bit_width * o.act_bits;
  const int worthwhile = isa == Isa::sse2 ? 0 : 2;
  return plane_pairs <= worthwhile ? QGemmMethod::bitserial : QGemmMethod::dot;
}

}  // namespace

std::int64_t PackedMatrix::max_k(const PackOptions& o) {
  if (o.bit_width == 1) return kMaxInt32 / (2 * kMaxByte * 2);
  const std::int32_t stored = o.bit_width == 8 ? 128 : (1 << o.bit_width) - 1;
  // Sums are over codes as stored, results over those less their zero point; and what is added may be as
  // large again.
  const std::int64_t largest =
      std::max({stored, highest_code(o) - o.zero_point, o.zero_point - lowest_code(o)});
  return kMaxInt32 / (2 * kMaxByte * largest);
}

PackedMatrix::PackedMatrix(const Tensor& codes, const PackOptions& options, const Tensor& scale)
    : PackedMatrix(active_isa(), codes, options, scale) {}

PackedMatrix::PackedMatrix(Isa isa, const Tensor& codes, const PackOptions& options, const Tensor& scale)
    : isa_(isa),
      options_(checked(options)),
      method_(choose(isa, options)),
      kernels_(method_ == QGemmMethod::dot ? &dot_kernels(isa) : &bitserial_kernels(isa)) {
  NIBBLE_CHECK(codes.rank() == 2, "PackedMatrix: codes of rank ", codes.rank(), ", expected [n, k]");
  NIBBLE_CHECK(!is_floating_point(codes.dtype()) && codes.dtype() != DType::int64, "PackedMatrix: codes are ",
               codes.dtype(), ", expected int8, uint8 or int32");
  n_ = codes.size(0), k_ = codes.size(1);
  NIBBLE_CHECK(n_ >= 1 && k_ >= 1, "PackedMatrix: codes of shape ", codes.shape(), ", expected no zero");
  const std::int32_t lowest = lowest_code(options_), highest = highest_code(options_);
  if (options_.bit_width == 1) {
    NIBBLE_CHECK(options_.zero_point == 0 && options_.is_signed,
                 "PackedMatrix: binary weights are signed and have no zero point");
    stored_zero_point_ = 1;
  } else {
    NIBBLE_CHECK(options_.zero_point >= lowest && options_.zero_point <= highest, "PackedMatrix: zero point ",
                 options_.zero_point, ", expected ", lowest, " to ", highest);
    stored_zero_point_ = options_.zero_point + storage_offset(options_);
  }
  NIBBLE_CHECK(k_ <= max_k(options_), "PackedMatrix: k is ", k_, ", sums of ", options_.bit_width,
               "-bit weights, ", lowest, " to ", highest, " with zero point ", options_.zero_point,
               ", fit int32 up to ", max_k(options_));
  set_scale(scale);
  pack(codes);
}

void PackedMatrix::set_scale(const Tensor& scale) {
  const auto check = [](float s, std::int64_t i) {
    NIBBLE_CHECK(std::isfinite(s) && s > 0, "PackedMatrix: scale ", i, " is ", s,
                 ", expected a positive, finite number");
  };
  if (!scale.defined()) {
    scale_ = {1.0f};
    return;
  }
  const Tensor whole = scale.to(DType::float32).contiguous();
  const std::span<const float> values = whole.values<float>();
  for (std::size_t i = 0; i < values.size(); ++i) check(values[i], static_cast<std::int64_t>(i));
  if (scale.numel() == 1 || (scale.rank() == 1 && scale.size(0) == n_)) {
    scale_.assign(values.begin(), values.end());
    return;
  }
  if (scale.rank() == 2 && scale.size(0) == n_)
    for (const std::int64_t group : {32, 64, 128})
      if (scale.size(1) == divide_up(k_, group)) group_ = group;
  NIBBLE_CHECK(group_ != 0, "PackedMatrix: scale of shape ", scale.shape(), " for ", n_, " x ", k_,
               " weights, expected [], [", n_, "] or [", n_, ", groups] with groups of 32, 64 or 128");
  NIBBLE_CHECK(method_ == QGemmMethod::dot, "PackedMatrix: bit-serial products have no scales per group");
  const auto lanes = static_cast<std::int64_t>(kernels_->lanes), groups = divide_up(k_, group_);
  group_scale_.assign(static_cast<std::size_t>(divide_up(n_, lanes) * groups * lanes), 0.0f);
  for (std::int64_t j = 0; j < n_; ++j)
    for (std::int64_t g = 0; g < groups; ++g)
      group_scale_[static_cast<std::size_t>((j / lanes * groups + g) * lanes + j % lanes)] =
          values[static_cast<std::size_t>(j * groups + g)];
}

void PackedMatrix::pack(const Tensor& codes) {
  const auto lanes = static_cast<std::int64_t>(kernels_->lanes), panels = divide_up(n_, lanes);
  panel_bytes_ = kernels_->panel_bytes(options_.bit_width, static_cast<std::size_t>(k_));
  panels_ = Storage::allocate(static_cast<std::size_t>(panels) * panel_bytes_);
  column_sums_.resize(static_cast<std::size_t>(n_));
  if (group_ != 0) scaled_column_sums_.resize(static_cast<std::size_t>(n_));
  const Tensor whole = codes.contiguous();
  const std::int32_t lowest = lowest_code(options_), highest = highest_code(options_),
                     offset = storage_offset(options_);
  const bool binary = options_.bit_width == 1;
  std::vector<int> max_pair(static_cast<std::size_t>(panels));

  const auto pack_panel = [&](const auto* values, std::int64_t panel, std::int8_t* stored) {
    const std::int64_t first = panel * lanes, count = std::min(lanes, n_ - first);
    for (std::int64_t j = 0; j < count; ++j) {
      std::int32_t sum = 0, positive = 0, negative = 0;
      std::int8_t* const row = stored + j * k_;
      for (std::int64_t p = 0; p < k_; ++p) {
        const auto code = static_cast<std::int32_t>(values[(first + j) * k_ + p]);
        const bool valid = binary ? code == 1 || code == -1 : code >= lowest && code <= highest;
        NIBBLE_CHECK(valid, "PackedMatrix: code [", first + j, ", ", p, "] is ", code, ", expected ",
                     binary ? "-1 or 1" : detail::concat(lowest, " to ", highest));
        row[p] = static_cast<std::int8_t>(binary ? (code + 1) / 2 : code + offset);
        sum += code;
        if (p % 2 == 0) positive = negative = 0;
        (row[p] > 0 ? positive : negative) += row[p];
        max_pair[static_cast<std::size_t>(panel)] =
            std::max({max_pair[static_cast<std::size_t>(panel)], positive, -negative});
      }
      column_sums_[static_cast<std::size_t>(first + j)] =
          sum - static_cast<std::int32_t>(k_) * options_.zero_point;
      if (group_ != 0) {
        float scaled = 0;
        const float* const scale = group_scales(panel) + j;
        for (std::int64_t begin = 0; begin < k_; begin += group_) {
          std::int32_t group_sum = 0;
          for (std::int64_t p = begin; p < std::min(k_, begin + group_); ++p)
            group_sum += static_cast<std::int32_t>(values[(first + j) * k_ + p]) - options_.zero_point;
          scaled += scale[begin / group_ * lanes] * static_cast<float>(group_sum);
        }
        scaled_column_sums_[static_cast<std::size_t>(first + j)] = scaled;
      }
    }
    kernels_->pack_panel(stored, static_cast<std::size_t>(k_), static_cast<std::size_t>(count),
                         static_cast<std::size_t>(k_), options_.bit_width,
                         const_cast<std::byte*>(this->panel(panel)));
  };
  parallel_for(panels, divide_up(1 << 16, lanes * k_), [&](std::int64_t begin, std::int64_t end) {
    const auto stored = Storage::allocate(static_cast<std::size_t>(lanes * k_));
    visit(whole.dtype(), [&](auto type) {
      for (std::int64_t panel = begin; panel < end; ++panel)
        pack_panel(whole.data<decltype(type)>(), panel, reinterpret_cast<std::int8_t*>(stored->data()));
    });
  });
  max_pair_ = *std::max_element(max_pair.begin(), max_pair.end());
}

const std::byte* PackedMatrix::panel(std::int64_t index) const {
  return panels_->data() + static_cast<std::size_t>(index) * panel_bytes_;
}

const float* PackedMatrix::group_scales(std::int64_t panel) const {
  return group_ == 0 ? nullptr
                     : group_scale_.data() +
                           panel * divide_up(k_, group_) * static_cast<std::int64_t>(kernels_->lanes);
}

std::int64_t PackedMatrix::bytes() const {
  return static_cast<std::int64_t>(panels_->bytes() + 4 * (column_sums_.size() + scale_.size() +
                                                           group_scale_.size() + scaled_column_sums_.size()));
}

PackedMatrix PackedMatrix::clone() const {
  PackedMatrix result = *this;
  result.panels_ = Storage::allocate(panels_->bytes());
  std::memcpy(result.panels_->data(), panels_->data(), panels_->bytes());
  return result;
}

Tensor PackedMatrix::unpack() const {
  Tensor result = empty({n_, k_}, DType::int32);
  std::int32_t* const out = result.mutable_data<std::int32_t>();
  const auto lanes = static_cast<std::int64_t>(kernels_->lanes);
  std::vector<std::int8_t> stored(static_cast<std::size_t>(lanes * k_));
  const std::int32_t offset = storage_offset(options_);
  for (std::int64_t first = 0; first < n_; first += lanes) {
    const std::int64_t count = std::min(lanes, n_ - first);
    kernels_->unpack_panel(panel(first / lanes), static_cast<std::size_t>(count),
                           static_cast<std::size_t>(k_), options_.bit_width, stored.data(),
                           static_cast<std::size_t>(k_));
    for (std::int64_t i = 0; i < count * k_; ++i) {
      const std::int32_t code = stored[static_cast<std::size_t>(i)];
      out[first * k_ + i] = options_.bit_width == 1 ? 2 * code - 1 : code - offset;
    }
  }
  return result;
}

}  // namespace nibble::quant
