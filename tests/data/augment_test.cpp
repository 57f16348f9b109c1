#include "data/augment.h"

#include <nlohmann/json.hpp>

#include "data/kernels/resample.h"
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
    const data::AffineMap turned = data::rotation(height, width, angle);
    data::resample(in, mirrored, height, width, data::after_flip({}, width));
    CHECK(mirrored == image_of(flipped, i));
    data::resample(in, out, height, width, turned);
    CHECK(out == image_of(rotated, i));
    data::resample(in, out, height, width, data::after_flip(turned, width));
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
    const data::Augmentation flips{data::RandomHorizontalFlip{0.25}, {}};
    data::resample(asymmetric, two, 2, 2, flips.draw(2, 2, rng));
    mirrored += two[1];
  }
  CHECK(mirrored == Approx(250).margin(50));
  Rng rng(2);
  data::resample(in, out, 28, 28, data::Augmentation{{}, data::RandomRotation(0, 0)}.draw(28, 28, rng));
  CHECK(out == in);
  CHECK_THROWS(data::rotation(0, 28, 1));
  CHECK_THROWS(data::rotation(28, 8193, 1));
  CHECK_THROWS(data::RandomRotation(-1));
  CHECK_THROWS(data::RandomRotation(10, 5));
  CHECK_THROWS(data::RandomRotation(0, std::numeric_limits<double>::quiet_NaN()));
}

TEST_CASE("a batch on every tier is its images resampled one by one") {
  Rng rng(3);
  for (const auto& [height, width] : {std::pair{28, 28}, {5, 7}, {1, 1}, {1, 3}}) {
    const std::int64_t pixels = height * width;
    for (const std::int64_t n : {1, 3, 4, 5, 15, 16, 17, 64}) {
      Image images(static_cast<std::size_t>(n * pixels));
      for (std::uint8_t& pixel : images) pixel = static_cast<std::uint8_t>(rng.below(256));
      std::vector<std::int32_t> table(7 * 64);
      std::vector<float> expected(images.size());
      for (std::int64_t i = 0; i < n; ++i) {
        const data::Augmentation augmentation{data::RandomHorizontalFlip{0.5}, data::RandomRotation(180)};
        const data::AffineMap m = augmentation.draw(height, width, rng);
        const std::int64_t source = n - 1 - i;
        const std::int32_t values[] = {
            static_cast<std::int32_t>(source * pixels), m.x0, m.x_x, m.x_y, m.y0, m.y_x, m.y_y};
        for (std::size_t j = 0; j < 7; ++j) table[j * 64 + static_cast<std::size_t>(i)] = values[j];
        Image one(static_cast<std::size_t>(pixels));
        data::resample(std::span(images).subspan(static_cast<std::size_t>(source * pixels), one.size()), one,
                       height, width, m);
        for (std::int64_t p = 0; p < pixels; ++p)
          expected[static_cast<std::size_t>(p * n + i)] =
              static_cast<float>(one[static_cast<std::size_t>(p)]) / 255.0f;
      }
      const auto column = [&](std::size_t j) { return table.data() + j * 64; };
      const data::Resampling resampling{column(0), column(1),     column(2),
                                        column(3), column(4),     column(5),
                                        column(6), images.data(), static_cast<std::int32_t>(images.size()),
                                        height,    width,         n};
      for (const Isa isa : supported_isas()) {
        INFO(name_of(isa) << ", " << n << " images of " << height << "x" << width);
        std::vector<float> out(images.size() + 1, -1.0f);
        data::resample_kernels(isa).rows(resampling, 0, height / 2, out.data());
        data::resample_kernels(isa).rows(resampling, height / 2, height, out.data());
        CHECK(out.back() == -1.0f);
        out.pop_back();
        CHECK(out == expected);
      }
    }
  }
}
