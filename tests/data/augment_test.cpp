#include "data/augment.h"

#include <nlohmann/json.hpp>

#include "data/loader.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

using namespace nibble;

namespace {

using Image = std::vector<std::uint8_t>;

Image image_of(const Tensor& images, std::int64_t i) {
  const Tensor one = images.select(0, i).contiguous();
  const auto values = one.values<std::uint8_t>();
  return {values.begin(), values.end()};
}

}  // namespace

TEST_CASE("golden: mirrored and rotated images are torchvision's, bit for bit") {
  const test::Golden golden("augment");
  const Tensor images = golden.tensor("images"), flipped = golden.tensor("flipped"),
               flipped_rotated = golden.tensor("flipped_rotated"), rotated = golden.tensor("rotated");
  const auto angles = nlohmann::json::parse(golden.meta("angles_exact"));
  const auto height = static_cast<int>(images.size(1)), width = static_cast<int>(images.size(2));
  REQUIRE(static_cast<std::int64_t>(angles.size()) == images.size(0));
  for (std::int64_t i = 0; i < images.size(0); ++i) {
    const double angle = angles[static_cast<std::size_t>(i)].get<double>();
    INFO("image " << i << ", " << angle << " degrees");
    const Image in = image_of(images, i);
    Image mirrored(in.size()), out(in.size());
    data::flip_horizontal(in, mirrored, height, width);
    CHECK(mirrored == image_of(flipped, i));
    data::rotate(in, out, height, width, angle);
    CHECK(out == image_of(rotated, i));
    data::rotate(mirrored, out, height, width, angle);
    CHECK(out == image_of(flipped_rotated, i));
  }
  const Tensor expected = golden.tensor("to_tensor_0");
  const data::Dataset one{
      {flipped_rotated.narrow(0, 0, 1), golden.tensor("labels").narrow(0, 0, 1).to(DType::int64)}, {}, 0};
  auto epoch = data::DataLoader(one, {}).epoch(0);
  CHECK(test::same_elements(epoch.next()->x.select(0, 0), expected));
}

TEST_CASE("transforms draw from the given range, and refuse an impossible one") {
  const Image in(28 * 28, 255);
  Image out(in.size());
  int mirrored = 0;
  Image asymmetric(4, 0);
  asymmetric[0] = 1;
  Image two(4);
  for (std::uint64_t i = 0; i < 1000; ++i) {
    Rng rng(1, i);
    data::Augmentation{data::RandomHorizontalFlip{0.25}, {}}.apply(asymmetric, two, 2, 2, rng);
    mirrored += two[1];
  }
  CHECK(mirrored == Approx(250).margin(50));
  Rng rng(2);
  data::Augmentation{{}, data::RandomRotation(0, 0)}.apply(in, out, 28, 28, rng);
  CHECK(out == in);
  CHECK_THROWS(data::RandomRotation(-1));
  CHECK_THROWS(data::RandomRotation(10, 5));
  CHECK_THROWS(data::RandomRotation(0, std::numeric_limits<double>::quiet_NaN()));
}
