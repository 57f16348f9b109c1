#include <algorithm>

#include "quant/integer/certificate.h"
#include "quant/integer/engine.h"
#include "quant/integer/reference.h"
#include "quant/kernels/direct_conv.h"
#include "tests/support/catch.h"
#include "tests/support/random_int_model.h"

// This program brings its own direct convolution of the lowest vector tier, so the linker does not look for
// it in the library: it is right but for one sum in one place.

namespace nibble::quant::NIBBLE_BROKEN_TIER {
namespace {

bool is_broken = false;

void run(const DirectConvTile& tile) noexcept {
  scalar::direct_conv_kernels.run(tile);
  if (is_broken && tile.terms == 18) ++tile.acc[5];  // conv2 alone has two words of channels and 3 x 3 taps
}

}  // namespace

extern const DirectConvKernels direct_conv_kernels = {
    .lanes = scalar::direct_conv_kernels.lanes,
    .signed_activations = scalar::direct_conv_kernels.signed_activations,
    .run = run};

}  // namespace nibble::quant::NIBBLE_BROKEN_TIER

namespace nibble::quant {
namespace {

TEST_CASE("a kernel that is wrong in one place turns the certificate red at its layer") {
  test::RandomIntModel random(1);
  IntModel model;
  random.set_input(model, {1, 12, 12});
  CodeFormat format = model.input.format;
  const auto add_conv = [&](const char* name, const Shape& weight) {
    IntProduct conv = random.product(name, weight, format);
    conv.options.padding = 1;
    random.requantize(conv, format = random.format(8));
    model.layers.push_back(conv);
  };
  add_conv("conv1", {8, 1, 3, 3});
  model.layers.push_back(IntMaxPool{"pool1", 2, {}});
  add_conv("conv2", {4, 8, 3, 3});
  add_conv("conv3", {3, 4, 3, 3});
  model.layers.push_back(IntFlatten{"flatten"});
  model.layers.push_back(random.product("linear", {10, 108}, format));
  check(model);
  const Tensor pixels = random.pixels(model.input.image, 4);
  const auto compare = [&] {
    Comparison comparison;
    comparison.add(run_reference(model, pixels), IntEngine(model, Isa::NIBBLE_BROKEN_TIER).trace(pixels), 0);
    return comparison;
  };
  REQUIRE(compare().differing() == 0);
  NIBBLE_BROKEN_TIER::is_broken = true;
  const Comparison broken = compare();
  REQUIRE(broken.first());
  CHECK(broken.first()->tensor == "conv2 accumulators");
  CHECK(broken.first()->image == 0);
  CHECK(broken.first()->index == 5);
  CHECK(broken.first()->found == broken.first()->expected + 1);
}

}  // namespace
}  // namespace nibble::quant
