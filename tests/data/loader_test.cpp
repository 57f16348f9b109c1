#include "data/loader.h"

#include <set>

#include "tensor/factory.h"
#include "tensor/parallel.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;

namespace {

data::Dataset noise(std::int64_t n, const data::Augmentation& augmentation, std::uint64_t seed) {
  Rng rng(1);
  Tensor images = empty({n, 28, 28}, DType::uint8);
  for (std::uint8_t& pixel : images.mutable_values<std::uint8_t>())
    pixel = static_cast<std::uint8_t>(rng.below(256));
  return {{images, arange(n)}, augmentation, seed};
}

const data::Augmentation kBoth{data::RandomHorizontalFlip{0.5}, data::RandomRotation(45)};

std::vector<data::Batch> all(const data::DataLoader& loader, std::int64_t number) {
  std::vector<data::Batch> batches;
  for (const auto& batch : loader.epoch(number)) batches.push_back(batch);
  return batches;
}

}  // namespace

TEST_CASE("an epoch visits every image once, shuffled by seed and epoch") {
  const data::DataLoader loader(noise(150, {}, 0), {.batch_size = 64, .shuffle = true, .seed = 5});
  CHECK(loader.batches() == 3);
  std::vector<std::vector<std::int64_t>> orders;
  for (std::int64_t number : {0, 0, 1}) {
    std::vector<std::int64_t> order;
    for (const auto& [x, y] : loader.epoch(number)) {
      CHECK(x.shape() == Shape{y.size(0), 1, 28, 28});
      CHECK(x.strides()[0] == 1);
      for (std::int64_t label : y.values<std::int64_t>()) order.push_back(label);
    }
    CHECK(std::set<std::int64_t>(order.begin(), order.end()).size() == 150);
    CHECK(order.size() == 150);
    orders.push_back(order);
  }
  CHECK(orders[0] == orders[1]);
  CHECK(orders[0] != orders[2]);
  CHECK(data::DataLoader(noise(150, {}, 0), {.batch_size = 64, .drop_last = true}).batches() == 2);
  CHECK(all(data::DataLoader(noise(150, {}, 0), {.batch_size = 64, .drop_last = true}), 0).size() == 2);
  CHECK_THROWS(data::DataLoader(noise(1, {}, 0), {.batch_size = 0}));
}

TEST_CASE("an augmented image depends on seed, epoch and index alone") {
  const data::Dataset set = noise(100, kBoth, 7);
  const int before = num_threads();
  set_num_threads(1);
  const auto ordered = all(data::DataLoader(set, {.batch_size = 100}), 3);
  set_num_threads(2);
  const auto shuffled = all(data::DataLoader(set, {.batch_size = 32, .shuffle = true, .seed = 9}), 3);
  set_num_threads(before);
  for (const auto& [x, y] : shuffled)
    for (std::int64_t i = 0; i < y.size(0); ++i)
      CHECK(test::same_elements(
          x.select(0, i), ordered[0].x.select(0, y.values<std::int64_t>()[static_cast<std::size_t>(i)])));
  CHECK_FALSE(test::same_elements(all(data::DataLoader(set, {.batch_size = 100}), 4)[0].x, ordered[0].x));
  CHECK_FALSE(test::same_elements(all(data::DataLoader(noise(100, kBoth, 8), {.batch_size = 100}), 3)[0].x,
                                  ordered[0].x));
}

TEST_CASE("a frozen set is the same in every epoch") {
  const data::Dataset set = noise(70, kBoth, 7), frozen = set.frozen();
  const data::DataLoader loader(frozen, {});
  CHECK(test::same_elements(all(loader, 0)[0].x, all(loader, 5)[0].x));
  CHECK(test::same_elements(all(loader, 0)[1].x, all(data::DataLoader(set, {}), 0)[1].x));
  CHECK(set.first(10).size() == 10);
  CHECK(set.first(0).size() == 70);
  CHECK(set.first(1000).size() == 70);
}

TEST_CASE("an interrupted epoch goes on where it stopped") {
  const data::DataLoader loader(noise(150, kBoth, 1), {.batch_size = 32, .shuffle = true, .seed = 2});
  const auto whole = all(loader, 1);
  auto resumed = loader.epoch(1);
  resumed.skip(3);
  CHECK(test::same_elements(resumed.next()->x, whole[3].x));
}

TEST_CASE("images and labels may have any strides") {
  const data::Dataset plain = noise(40, kBoth, 3);
  data::Dataset strided = plain;
  // Image number innermost, and every second element of a larger row of labels.
  strided.source.images = plain.source.images.permute({1, 2, 0}).clone().permute({2, 0, 1});
  Tensor labels = full({40, 2}, -1, DType::int64).select(1, 0);
  labels.copy_from(plain.source.labels);
  strided.source.labels = labels;
  for (const auto& make :
       {+[](const data::Dataset& set) { return set; }, +[](const data::Dataset& set) { return set.frozen(); },
        +[](const data::Dataset& set) { return set.first(20); }}) {
    const auto expected = all(data::DataLoader(make(plain), {}), 1);
    const auto actual = all(data::DataLoader(make(strided), {}), 1);
    CHECK(test::same_elements(actual.at(0).x, expected.at(0).x));
    CHECK(test::same_elements(actual.at(0).y, expected.at(0).y));
  }
}

TEST_CASE("a data set whose parts do not fit together is refused") {
  const auto refused = [](const Tensor& images, const Tensor& labels, const std::string& message) {
    CHECK_THROWS_WITH(data::DataLoader({{images, labels}, {}, 0}, {}), message);
  };
  const Tensor images = zeros({3, 28, 28}, DType::uint8), labels = arange(3);
  CHECK_NOTHROW(data::DataLoader({{images, labels}, {}, 0}, {}));
  refused(images, arange(2), "DataLoader: labels of shape [2] and dtype int64, expected [3] of int64");
  refused(images, labels.unsqueeze(1),
          "DataLoader: labels of shape [3, 1] and dtype int64, expected [3] of int64");
  refused(images, labels.to(DType::int32),
          "DataLoader: labels of shape [3] and dtype int32, expected [3] of int64");
  refused(images.flatten(1), labels,
          "DataLoader: images of shape [3, 784] and dtype uint8, expected [N, H, W] of uint8");
  refused(images.to(DType::float32), labels,
          "DataLoader: images of shape [3, 28, 28] and dtype float32, expected [N, H, W] of uint8");
}
