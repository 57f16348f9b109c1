#include "quant/integer/engine_plan.h"

#include <algorithm>
#include <cstring>

#include "quant/kernels/map_bytes.h"
#include "quant/kernels/requantize_formula.h"
#include "tensor/check.h"

namespace nibble::quant {
namespace {

std::size_t size(std::int64_t n) { return static_cast<std::size_t>(n); }
std::int64_t lines_of(std::int64_t bytes) { return (bytes + 63) / 64 * 64; }

bool is_pool2(const IntMaxPool& pool, const Shape& image) {
  const PoolOptions& o = pool.options;
  return pool.kernel == Size2(2) && (o.stride == Size2(0) || o.stride == Size2(2)) && o.padding == Size2(0) &&
         o.dilation == Size2(1) && (!o.ceil_mode || (image[1] % 2 == 0 && image[2] % 2 == 0));
}

void run_pool(const CodePool& pool, const Place& from, const std::uint8_t* x, const Place& to,
              std::uint8_t* y, std::uint8_t* scratch) {
  for (std::int64_t p = 0; p < to.layout.planes; ++p)
    for (std::int64_t row = 0; row < to.layout.height; ++row)
      pool.run(x + 4 * from.layout.at(p, 0, 0), 4 * from.layout.pitch(), row, to.layout.width,
               y + 4 * to.layout.at(p, row, 0), scratch);
}

}  // namespace

void rescale(const IntProduct& l, std::int32_t* sums, std::int64_t per_channel, std::int64_t images) {
  if (!l.is_requantized()) return;
  const std::int64_t channels = l.out_channels();
  for (std::int64_t i = 0; i < images * channels * per_channel; ++i) {
    const std::int64_t k = i / per_channel % channels;
    sums[i] = requantize(sums[i], l.multiplier_of(k), l.shift_of(k), l.out.zero_point, l.out.lo, l.out.hi);
  }
}

// Walks the layers of a model once, from the pixels on.
struct IntEngine::Plan::Builder {
  Plan& plan;
  const std::vector<IntLayer>& layers;
  Shape shape;
  CodeFormat format;
  std::size_t next = 0;
  std::int64_t scratch_bytes = 0;

  template <class Layer>
  const Layer* next_as(std::size_t ahead = 0) const {
    return next + ahead < layers.size() ? std::get_if<Layer>(&layers[next + ahead]) : nullptr;
  }
  const IntProduct* next_conv() const {
    const auto* product = next_as<IntProduct>();
    return product != nullptr && !product->is_linear() ? product : nullptr;
  }
  bool is_first() const { return plan.places.size() == 1 && plan.steps.empty(); }

  // An activation as the next layer wants it: padded for a convolution, without gaps for others.
  void add_place() {
    const bool of_pixels = plan.places.empty();
    Place place{.layout = {}, .stored = StoredCodes(format, plan.signed_bytes), .image = shape};
    if (const IntProduct* conv = next_conv()) {
      const ConvStep::Input input = ConvStep::input_of(*conv, shape, of_pixels);
      place.bytes = input.bytes;
      place.layout = input.layout;
    } else {
      place.bytes = of_pixels && next_as<IntMaxPool>() == nullptr;
      place.layout.planes = place.bytes ? shape[0] : words_of_channels(shape[0]);
      place.layout.height = shape[1];
      place.layout.width = shape[2];
    }
    const bool is_features = next_conv() == nullptr && next_as<IntMaxPool>() == nullptr;
    place.stride = place.dense_bytes();
    place.offset = plan.bytes;
    const std::int64_t readable = PlaneLayout::kReadable * (place.bytes ? 1 : 4);
    plan.bytes += lines_of(place.stride * (is_features ? kImagesPerBlock : 1) + readable);
    plan.places.push_back(place);
  }

  void add_conv(const IntProduct& conv) {
    const Shape before = shape;
    shape = output_shape(layers[next], shape);
    const auto* pool = next_as<IntMaxPool>(1);
    const bool pool2 = pool != nullptr && is_pool2(*pool, shape);
    const ConvStep step(plan.isa, conv, before, format, is_first(), pool2);
    scratch_bytes = std::max(scratch_bytes, static_cast<std::int64_t>(step.scratch_bytes()));
    plan.steps.emplace_back(step);
    format = conv.out;
    ++next;
    if (pool2) shape = output_shape(layers[next++], shape);
  }

  void add_pool(const IntMaxPool& pool) {
    const auto least = static_cast<std::uint8_t>(plan.places.back().stored.lo());
    const CodePool rows(plan.isa, plan.signed_bytes, least, shape[1], shape[2], 4, pool.kernel, pool.options);
    scratch_bytes = std::max(scratch_bytes, rows.scratch_bytes());
    plan.steps.emplace_back(rows);
    shape = output_shape(layers[next++], shape);
  }

  void add_image_steps() {
    add_place();
    while (next_conv() != nullptr || next_as<IntMaxPool>() != nullptr) {
      if (const IntProduct* conv = next_conv()) {
        add_conv(*conv);
      } else {
        add_pool(*next_as<IntMaxPool>());
      }
      if (next < layers.size()) add_place();
    }
  }

  // Features in logical order, [C, H, W], are found where the last image step put them.
  std::vector<std::int64_t> feature_columns() const {
    const Place& features = plan.places.back();
    std::vector<std::int64_t> column;
    for (std::int64_t c = 0; c < features.image[0]; ++c)
      for (std::int64_t y = 0; y < features.image[1]; ++y)
        for (std::int64_t x = 0; x < features.image[2]; ++x) column.push_back(features.byte_at(c, y, x));
    return column;
  }

  void add_linear_steps() {
    std::vector<std::int64_t> column = feature_columns();
    std::int64_t row_bytes = plan.places.back().stride;
    for (; next < layers.size(); ++next) {
      const auto* product = next_as<IntProduct>();
      if (product == nullptr) continue;  // a Flatten
      plan.linear.emplace_back(plan.isa, *product, format, column, row_bytes);
      format = product->out;
      row_bytes = product->out_channels();
      column.resize(size(row_bytes));
      for (std::size_t i = 0; i < column.size(); ++i) column[i] = static_cast<std::int64_t>(i);
      plan.row_offset.push_back(plan.bytes);
      plan.bytes += lines_of(row_bytes * kImagesPerBlock);
    }
  }
};

IntEngine::Plan::Plan(const IntModel& model, Isa tier)
    : isa(tier),
      signed_bytes(direct_conv_kernels(tier).signed_activations),
      image(model.input.image),
      classes(logits_of(model)) {
  check(model);
  const StoredCodes stored(model.input.format, signed_bytes);
  for (std::size_t p = 0; p < 256; ++p)
    table[p] = static_cast<std::uint8_t>(model.input.codes[p] + stored.offset);
  Builder builder{*this, model.layers, image, model.input.format};
  builder.add_image_steps();
  if (builder.next < model.layers.size()) builder.add_linear_steps();
  scratch = bytes;
  bytes += lines_of(std::max(builder.scratch_bytes, image.numel()));
}

void IntEngine::Plan::prepare(std::byte* arena) const {
  for (std::size_t i = 0; i < places.size(); ++i) {
    const std::int64_t end = i + 1 < places.size() ? places[i + 1].offset
                             : row_offset.empty()  ? scratch
                                                   : row_offset[0];
    std::memset(arena + places[i].offset, places[i].stored.zero_byte(), size(end - places[i].offset));
  }
}

void IntEngine::Plan::read(const std::uint8_t* pixels, std::byte* arena, std::int64_t i) const {
  const Place& place = places.front();
  std::uint8_t* const to = place.at(arena, i);
  auto* codes = reinterpret_cast<std::uint8_t*>(arena + scratch);
  map_bytes_kernels(isa).run(pixels, size(image.numel()), table, codes);
  for (std::int64_t c = 0; c < image[0]; ++c)
    for (std::int64_t y = 0; y < image[1]; ++y, codes += image[2]) {
      std::uint8_t* const row = to + place.byte_at(c, y, 0);
      if (place.bytes)
        std::memcpy(row, codes, size(image[2]));
      else
        for (std::int64_t x = 0; x < image[2]; ++x) row[4 * x] = codes[x];
    }
}

void IntEngine::Plan::run_image_step(std::size_t s, std::byte* arena, std::int64_t i,
                                     std::int32_t* logits) const {
  const std::uint8_t* const from = places[s].at(arena, 0);
  if (s + 1 == places.size()) {  // its sums or codes are the logits
    const auto& conv = std::get<ConvStep>(steps[s]);
    if (conv.layer().out.bit_width <= 8) return conv.run_unfused(from, arena + scratch, nullptr, logits);
    conv.run_unfused(from, arena + scratch, logits, nullptr);
    return rescale(conv.layer(), logits, classes / conv.layer().out_channels(), 1);
  }
  const Place& to = places[s + 1];
  std::uint8_t* const out = to.at(arena, s + 1 == steps.size() ? i : 0);
  if (const auto* conv = std::get_if<ConvStep>(&steps[s]))
    conv->run(from, arena + scratch, reinterpret_cast<std::uint32_t*>(out), to.layout);
  else
    run_pool(std::get<CodePool>(steps[s]), places[s], from, to, out,
             reinterpret_cast<std::uint8_t*>(arena + scratch));
}

void IntEngine::Plan::run_block(std::byte* arena, const std::uint8_t* pixels, std::int64_t images,
                                std::int32_t* logits) const {
  for (std::int64_t i = 0; i < images; ++i) {
    read(pixels + i * image.numel(), arena, steps.empty() ? i : 0);
    for (std::size_t s = 0; s < steps.size(); ++s) run_image_step(s, arena, i, logits + i * classes);
  }
  if (!ends_in_image_step()) run_linear(arena, images, logits);
}

void IntEngine::Plan::run_linear(std::byte* arena, std::int64_t images, std::int32_t* logits) const {
  const std::uint8_t* rows = places.back().at(arena, 0);
  for (std::size_t l = 0; l < linear.size(); ++l) {
    const IntProduct& layer = linear[l].layer();
    if (layer.out.bit_width == 32) {
      linear[l].run_sums(rows, images, logits);
      return rescale(layer, logits, 1, images);
    }
    auto* const to = reinterpret_cast<std::uint8_t*>(arena + row_offset[l]);
    linear[l].run_codes(rows, images, to);
    rows = to;
  }
  const StoredCodes stored(linear.back().layer().out, signed_bytes);
  for (std::int64_t j = 0; j < images * classes; ++j) logits[j] = stored.code(rows[j], signed_bytes);
}

}  // namespace nibble::quant
