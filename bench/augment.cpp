#include "data/augment.h"

#include "bench/measure.h"
#include "data/loader.h"
#include "tensor/factory.h"

namespace nibble::bench {

// One batch of the lab: 64 images picked, mirrored, rotated and converted, on one thread.
void register_augment() {
  add("augment/batch:64", 1, "kimages/s", 64e-3, [] {
    Tensor images = empty({1024, 28, 28}, DType::uint8), labels = zeros({1024}, DType::int64);
    Rng rng(1);
    for (std::uint8_t& pixel : images.mutable_values<std::uint8_t>())
      pixel = static_cast<std::uint8_t>(rng.below(256));
    data::Dataset dataset{{images, labels}, {}, 1};
    dataset.augmentation.flip = data::RandomHorizontalFlip{1.0};
    dataset.augmentation.rotation = data::RandomRotation(45);
    const data::DataLoader loader(dataset, {.batch_size = 64, .shuffle = true, .seed = 1});
    return [loader, epoch = loader.epoch(0), number = std::int64_t{0}]() mutable {
      auto batch = epoch.next();
      if (!batch) {
        epoch = loader.epoch(++number);
        batch = epoch.next();
      }
      benchmark::DoNotOptimize(batch->x.data<float>());
    };
  });
}

}  // namespace nibble::bench
