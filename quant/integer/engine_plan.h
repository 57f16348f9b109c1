#pragma once

#include <string>
#include <variant>
#include <vector>

#include "quant/code_pool.h"
#include "quant/integer/conv_step.h"
#include "quant/integer/engine.h"
#include "quant/integer/linear_step.h"

// What an engine runs, in detail: for engine.cpp alone.

namespace nibble::quant {

// An activation in the arena. Features, which linear layers read, are kept for every image of a block.
struct Place {
  std::int64_t offset = 0;  // bytes
  std::int64_t stride = 0;  // bytes from image to image
  bool bytes = false;       // else words
  PlaneLayout layout;
  StoredCodes stored;
  Shape image;  // [C, H, W]

  std::uint8_t* at(std::byte* arena, std::int64_t i) const {
    return reinterpret_cast<std::uint8_t*>(arena + offset + i * stride);
  }
  std::int64_t byte_at(std::int64_t c, std::int64_t y, std::int64_t x) const {
    return bytes ? layout.at(c, y, x) : 4 * layout.at(c / 4, y, x) + c % 4;
  }
  std::int64_t dense_bytes() const { return layout.planes * layout.plane() * (bytes ? 1 : 4); }
};

// Image steps lead from place to place; the last one writes the features of its image, on which the linear
// steps go on, a block of images at a time.
struct IntEngine::Plan {
  // Enough rows for the tiles of a product, few enough to stay in L1.
  static constexpr std::int64_t kImagesPerBlock = 16;

  // A pooling that is not part of a convolution takes the words of a row for pixels of four channels.
  using ImageStep = std::variant<ConvStep, CodePool>;

  Plan(const IntModel& model, Isa isa);

  void prepare(std::byte* arena) const;  // fills the padding of every place
  void run_block(std::byte* arena, const std::uint8_t* pixels, std::int64_t images,
                 std::int32_t* logits) const;

  // Parts of run_block. `image`: of the block.
  void read(const std::uint8_t* pixels, std::byte* arena, std::int64_t image) const;
  void run_image_step(std::size_t step, std::byte* arena, std::int64_t image, std::int32_t* logits) const;
  void run_linear(std::byte* arena, std::int64_t images, std::int32_t* logits) const;

  bool ends_in_image_step() const { return linear.empty(); }

  Isa isa;
  bool signed_bytes;
  Shape image;
  std::uint8_t table[256];
  std::vector<Place> places;  // [0]: the input; [s + 1]: behind image step s, unless that makes logits
  std::vector<ImageStep> steps;
  std::vector<LinearStep> linear;
  std::vector<std::int64_t> row_offset;  // bytes, of the rows behind each linear layer
  std::int64_t scratch = 0, bytes = 0;   // of the arena
  std::int64_t classes = 0;

 private:
  struct Builder;
};

// A sum of channel k that is requantized to 32 bits: logits of channels with scales of their own.
void rescale(const IntProduct& layer, std::int32_t* sums, std::int64_t per_channel, std::int64_t images);

}  // namespace nibble::quant
