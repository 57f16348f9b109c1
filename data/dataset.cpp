#include "data/dataset.h"

#include "tensor/factory.h"
#include "tensor/parallel.h"

namespace nibble::data {

void Dataset::image(std::int64_t index, std::int64_t epoch, std::span<std::uint8_t> out) const {
  const std::int64_t height = source.images.size(1), width = source.images.size(2);
  const std::uint8_t* const in = source.images.data<std::uint8_t>() + index * height * width;
  Rng rng(seed, stream_of(0x696d6167, static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(index)));
  augmentation.apply({in, static_cast<std::size_t>(height * width)}, out, static_cast<int>(height),
                     static_cast<int>(width), rng);
}

Dataset Dataset::first(std::int64_t n) const {
  if (n <= 0 || n >= size()) return *this;
  Dataset result = *this;
  result.source = {source.images.narrow(0, 0, n), source.labels.narrow(0, 0, n)};
  return result;
}

Dataset Dataset::frozen() const {
  if (!augmentation.flip && !augmentation.rotation) return *this;
  Tensor images = empty(source.images.shape(), DType::uint8);
  const std::int64_t pixels = source.images.size(1) * source.images.size(2);
  std::uint8_t* const out = images.mutable_data<std::uint8_t>();
  parallel_for(size(), 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      image(i, 0, {out + i * pixels, static_cast<std::size_t>(pixels)});
  });
  return {{images, source.labels}, {}, seed};
}

}  // namespace nibble::data
