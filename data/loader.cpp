#include "data/loader.h"

#include <numeric>

#include "data/kernels/resample.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"

namespace nibble::data {
DataLoader::DataLoader(Dataset dataset, const LoaderOptions& options)
    : dataset_(std::move(dataset)), options_(options) {
  NIBBLE_CHECK(options.batch_size >= 1, "DataLoader: batch_size is ", options.batch_size,
               ", expected at least 1");
  const Tensor &images = dataset_.source.images, &labels = dataset_.source.labels;
  NIBBLE_CHECK(images.defined() && images.rank() == 3 && images.dtype() == DType::uint8,
               "DataLoader: images of shape ", images.shape(), " and dtype ", images.dtype(),
               ", expected [N, H, W] of uint8");
  NIBBLE_CHECK(labels.defined() && labels.shape() == Shape{images.size(0)} && labels.dtype() == DType::int64,
               "DataLoader: labels of shape ", labels.shape(), " and dtype ", labels.dtype(), ", expected ",
               Shape{images.size(0)}, " of int64");
  NIBBLE_CHECK(images.numel() < std::int64_t{1} << 31, "DataLoader: images of ", images.numel(),
               " bytes, expected less than 2^31");
  // Batches are cut out by image number alone.
  dataset_.source = {images.contiguous(), labels.contiguous()};
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
  const auto total = static_cast<std::int64_t>(order_.size());
  const std::int64_t start = position_ * options_.batch_size;
  const std::int64_t n = std::min(options_.batch_size, total - start);
  if (n <= 0 || (options_.drop_last && n < options_.batch_size)) return std::nullopt;
  ++position_;

  const Tensor& images = dataset_.source.images;
  const std::int64_t height = images.size(1), width = images.size(2);
  const std::int64_t padded = (n + Resampling::kPadding - 1) / Resampling::kPadding * Resampling::kPadding;
  Tensor maps = zeros({7, padded}, DType::int32), y = empty({n}, DType::int64);
  std::int32_t* const map = maps.mutable_data<std::int32_t>();
  std::int64_t* const labels = y.mutable_data<std::int64_t>();
  const std::int64_t* const source_labels = dataset_.source.labels.data<std::int64_t>();
  parallel_for(n, 32, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t index = order_[static_cast<std::size_t>(start + i)];
      labels[i] = source_labels[index];
      const AffineMap m = dataset_.map(index, number_);
      const std::int32_t values[7] = {
          static_cast<std::int32_t>(index * height * width), m.x0, m.x_x, m.x_y, m.y0, m.y_x, m.y_y};
      for (std::int64_t j = 0; j < 7; ++j) map[j * padded + i] = values[j];
    }
  });
  const Resampling resampling{.offset = map,
                              .x0 = map + padded,
                              .x_x = map + 2 * padded,
                              .x_y = map + 3 * padded,
                              .y0 = map + 4 * padded,
                              .y_x = map + 5 * padded,
                              .y_y = map + 6 * padded,
                              .pixels = images.data<std::uint8_t>(),
                              .pixel_count = static_cast<std::int32_t>(images.numel()),
                              .height = static_cast<std::int32_t>(height),
                              .width = static_cast<std::int32_t>(width),
                              .n = n};
  Tensor x = empty({1, height, width, n});
  float* const out = x.mutable_data<float>();
  parallel_for(height, 4, [&](std::int64_t begin, std::int64_t end) {
    resample_kernels().rows(resampling, static_cast<std::int32_t>(begin), static_cast<std::int32_t>(end),
                            out);
  });
  return Batch{x.permute({3, 0, 1, 2}), y};
}

}  // namespace nibble::data
