#include "data/dataset.h"

#include "tensor/factory.h"
#include "tensor/parallel.h"

namespace nibble::data {

AffineMap Dataset::map(std::int64_t index, std::int64_t epoch) const {
  Rng rng(seed, stream_of(0x696d6167, static_cast<std::uint64_t>(epoch), static_cast<std::uint64_t>(index)));
  return augmentation.draw(static_cast<int>(source.images.size(1)), static_cast<int>(source.images.size(2)),
                           rng);
}

Dataset Dataset::first(std::int64_t n) const {
  if (n <= 0 || n >= size()) return *this;
  Dataset result = *this;
  result.source = {source.images.narrow(0, 0, n), source.labels.narrow(0, 0, n)};
  return result;
}

Dataset Dataset::frozen() const {
  if (augmentation.changes_nothing()) return *this;
  Tensor images = empty(source.images.shape(), DType::uint8);
  const std::int64_t height = images.size(1), width = images.size(2), pixels = height * width;
  const Tensor from = source.images.contiguous();
  const std::uint8_t* const in = from.data<std::uint8_t>();
  std::uint8_t* const out = images.mutable_data<std::uint8_t>();
  parallel_for(size(), 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i)
      resample({in + i * pixels, static_cast<std::size_t>(pixels)},
               {out + i * pixels, static_cast<std::size_t>(pixels)}, static_cast<int>(height),
               static_cast<int>(width), map(i, 0));
  });
  return {{images, source.labels}, {}, seed};
}

}  // namespace nibble::data
