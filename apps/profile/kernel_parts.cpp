#include "apps/profile/kernel_parts.h"

#include <algorithm>
#include <vector>

#include "apps/profile/timing.h"
#include "quant/kernels/bits.h"
#include "quant/tiling.h"
#include "tensor/divide_up.h"
#include "tensor/storage.h"

namespace nibble {
namespace {

using quant::PackedMatrix;
using quant::QGemmKernels;
using quant::QGemmMethod;
using quant::Tiling;
using quant::WeightForm;

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }

// The flip of activations of 8 bits, which are unsigned here.
std::uint8_t flip_of(const QGemmKernels& kernels, int act_bits) {
  return static_cast<std::uint8_t>(act_bits == 8 && kernels.signed_activations ? 0x80 : 0);
}

// Every row of activations to the form of the kernel, tile by tile; whole tiles that qgemm reads as they lie
// stay there.
double rows_seconds(const KernelOperands& operands, const PackedMatrix& w, int act_bits, const Tiling& tiling,
                    double budget) {
  const QGemmKernels& kernels = w.kernels();
  const quant::BitsKernels& bits = quant::bits_kernels(w.isa());
  const std::int64_t k = operands.shape().k, stride = operands.activation_stride(act_bits);
  const std::uint8_t flip = flip_of(kernels, act_bits);
  const auto packed =
      Storage::allocate(kernels.row_bytes(size(tiling.height), size(k), act_bits, tiling.form));
  const auto bytes = Storage::allocate(size(tiling.height * k));
  std::vector<std::int32_t> init(size(tiling.height));
  std::vector<const std::uint8_t*> rows(size(tiling.height));
  return seconds_per_call(budget, [&] {
    for (std::int64_t tile = 0; tile < tiling.tiles; ++tile) {
      const std::int64_t first = tile * tiling.height, count = tiling.rows_of(tile);
      for (std::int64_t i = 0; i < count; ++i) {
        const std::uint8_t* const row = operands.activations() + (first + i) * stride;
        auto* const scratch = reinterpret_cast<std::uint8_t*>(bytes->data()) + i * k;
        if (act_bits < 8) bits.unpack(row, size(k), act_bits, scratch);
        rows[size(i)] = act_bits < 8 ? scratch : row;
      }
      if (flip == 0 && tiling.reads_rows(tile)) continue;
      kernels.pack_rows({.rows = rows.data(),
                         .count = size(count),
                         .tile_rows = size(tiling.height_of(tile)),
                         .k = size(k),
                         .act_bits = act_bits,
                         .act_step = 1,
                         .flip = flip,
                         .form = tiling.form,
                         .group = size(k),
                         .weight_zero_point = tiling.weight_zero_point},
                        packed->data(), init.data());
    }
  });
}

double expand_seconds(const PackedMatrix& w, const Tiling& tiling, double budget) {
  const QGemmKernels& kernels = w.kernels();
  const auto out = Storage::allocate(kernels.expanded_bytes(size(w.k()), tiling.form));
  const std::int64_t panels = divide_up(w.n(), static_cast<std::int64_t>(kernels.lanes));
  return seconds_per_call(budget, [&] {
    for (std::int64_t p = 0; p < panels; ++p)
      kernels.expand_panel(w.panel(p), size(w.k()), w.options().bit_width,
                           w.stored_zero_point() - tiling.weight_zero_point, tiling.form, out->data());
  });
}

// The innermost kernel for all tiles and panels of a product, timed on a few panels so shallow that they stay
// in L1. With reads_rows they lie as they came, not as pack_rows orders them.
double kernel_seconds(const PackedMatrix& w, int act_bits, const KernelShape& shape, const Tiling& tiling,
                      bool reads_rows, double budget) {
  const QGemmKernels& kernels = w.kernels();
  const int bits = w.options().bit_width;
  // Four panels of 16 columns are 24 KiB, less than any L1; planes of bits are deeper in as much.
  const std::size_t deepest = w.method() == QGemmMethod::dot ? 384 : 2048;
  const std::size_t k = std::min(size(shape.k), deepest), height = size(tiling.height);
  const std::int64_t panels = divide_up(shape.n, static_cast<std::int64_t>(kernels.lanes));
  const std::size_t width = std::min(kernels.max_panels, size(panels));
  const std::size_t stride = tiling.form == WeightForm::packed ? kernels.panel_bytes(bits, k)
                                                               : kernels.expanded_bytes(k, tiling.form);
  const auto zeros = [](std::size_t bytes) {
    auto storage = Storage::allocate(bytes);
    std::fill_n(storage->data(), bytes, std::byte{0});
    return storage;
  };
  const auto a = zeros(kernels.row_bytes(height, k, act_bits, tiling.form)), panel = zeros(width * stride);
  std::vector<std::int32_t> init(height), acc(height * width * kernels.lanes);
  const quant::QGemmTile tile{.rows = height,
                              .panels = width,
                              .k = k,
                              .weight_bits = bits,
                              .act_bits = act_bits,
                              .act_step = 1,
                              .form = tiling.form,
                              .fits_int16 = tiling.fits_int16,
                              .a = a->data(),
                              .w = panel->data(),
                              .panel_stride = stride,
                              .init = init.data(),
                              .acc = acc.data(),
                              .row_stride = width * kernels.lanes,
                              .group = 0,
                              .group_scale = nullptr,
                              .group_scale_stride = 0,
                              .sum = nullptr,
                              .a_stride = reads_rows ? k : 0};
  const double seconds = seconds_per_call(budget, [&] { kernels.run(tile); });
  return seconds * static_cast<double>(tiling.tiles) * static_cast<double>(panels) /
         static_cast<double>(width) * static_cast<double>(shape.k) / static_cast<double>(k);
}

}  // namespace

KernelParts measure_parts(const KernelOperands& operands, const PackedMatrix& w, double budget) {
  const int act_bits = w.options().act_bits;
  const Tiling tiling(w, operands.shape().m, act_bits);
  KernelParts parts{};
  parts.reads_rows = flip_of(w.kernels(), act_bits) == 0 && tiling.reads_rows(0);
  parts.rows = rows_seconds(operands, w, act_bits, tiling, budget);
  parts.kernel = kernel_seconds(w, act_bits, operands.shape(), tiling, parts.reads_rows, budget);
  parts.expanded = tiling.form != WeightForm::packed;
  if (parts.expanded) parts.unpack = expand_seconds(w, tiling, budget);
  return parts;
}

}  // namespace nibble
