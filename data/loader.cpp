#include "data/loader.h"

#include <array>
#include <numeric>

#include "tensor/factory.h"
#include "tensor/parallel.h"

namespace nibble::data {
namespace {

// ToTensor of torchvision: a float32 division by 255.
std::array<float, 256> pixel_values() {
  std::array<float, 256> values;
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) / 255.0f;
  return values;
}

}  // namespace

DataLoader::DataLoader(Dataset dataset, const LoaderOptions& options)
    : dataset_(std::move(dataset)), options_(options) {
  NIBBLE_CHECK(options.batch_size >= 1, "DataLoader: batch_size is ", options.batch_size,
               ", expected at least 1");
}

std::int64_t DataLoader::batches() const {
  const std::int64_t n = dataset_.size(), size = options_.batch_size;
  return options_.drop_last ? n / size : (n + size - 1) / size;
}

DataLoader::Epoch::Epoch(const DataLoader& loader, std::int64_t number)
    : dataset_(loader.dataset_),
      options_(loader.options_),
      number_(number),
      order_(static_cast<std::size_t>(loader.dataset_.size())) {
  std::iota(order_.begin(), order_.end(), std::int64_t{0});
  if (!options_.shuffle) return;
  Rng rng(options_.seed, stream_of(0x73687566, static_cast<std::uint64_t>(number)));
  for (std::size_t i = order_.size(); i > 1; --i) std::swap(order_[i - 1], order_[rng.below(i)]);
}

std::optional<Batch> DataLoader::Epoch::next() {
  static const std::array<float, 256> kPixel = pixel_values();
  const auto total = static_cast<std::int64_t>(order_.size());
  const std::int64_t start = position_ * options_.batch_size;
  const std::int64_t n = std::min(options_.batch_size, total - start);
  if (n <= 0 || (options_.drop_last && n < options_.batch_size)) return std::nullopt;
  ++position_;

  const std::int64_t height = dataset_.source.images.size(1), width = dataset_.source.images.size(2);
  const std::int64_t pixels = height * width;
  Tensor rows = empty({n, pixels}, DType::uint8), y = empty({n}, DType::int64);
  std::uint8_t* const images = rows.mutable_data<std::uint8_t>();
  std::int64_t* const labels = y.mutable_data<std::int64_t>();
  const std::int64_t* const source_labels = dataset_.source.labels.data<std::int64_t>();
  parallel_for(n, 16, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t index = order_[static_cast<std::size_t>(start + i)];
      dataset_.image(index, number_, {images + i * pixels, static_cast<std::size_t>(pixels)});
      labels[i] = source_labels[index];
    }
  });
  Tensor x = empty({1, height, width, n});
  float* const out = x.mutable_data<float>();
  parallel_for(pixels, 128, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t p = begin; p < end; ++p)
      for (std::int64_t i = 0; i < n; ++i) out[p * n + i] = kPixel[images[i * pixels + p]];
  });
  return Batch{x.permute({3, 0, 1, 2}), y};
}

}  // namespace nibble::data
