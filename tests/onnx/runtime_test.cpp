#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "autograd/no_grad.h"
#include "nn/eval_mode.h"
#include "quant/integer/reference.h"
#include "quant/onnx/export_onnx.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tensor/reduce.h"
#include "tests/onnx/models.h"
#include "tests/support/catch.h"

using namespace nibble;
using namespace nibble::quant;
using namespace nibble::test;

namespace {

void write(const std::filesystem::path& path, const void* data, std::size_t bytes) {
  std::ofstream(path, std::ios::binary)
      .write(static_cast<const char*>(data), static_cast<std::streamsize>(bytes));
}

// Runs run_ort.mjs on the model; `expected` as described there.
int run_in_onnx_runtime(const std::string& model, const Tensor& pixels, const Tensor& expected) {
  std::string folder = (std::filesystem::temp_directory_path() / "nibble-onnx-XXXXXX").string();
  REQUIRE(mkdtemp(folder.data()) != nullptr);
  const std::filesystem::path path = folder;
  write(path / "model.onnx", model.data(), model.size());
  write(path / "pixels.bin", pixels.data<std::uint8_t>(), pixels.values<std::uint8_t>().size_bytes());
  write(path / "expected.bin", expected.data<std::int32_t>(), expected.values<std::int32_t>().size_bytes());
  const std::string command = "node '" NIBBLE_SOURCE_DIR "/tests/onnx/run_ort.mjs' '" + folder +
                              "/model.onnx' '" + folder + "/pixels.bin' '" + folder + "/expected.bin'";
  const int status = std::system(command.c_str());
  std::filesystem::remove_all(path);
  return status;
}

}  // namespace

TEST_CASE("ONNX Runtime gives the answers of the integer model and of the float network", "[.][runtime]") {
  if (std::getenv("NIBBLE_ORT_NODE") == nullptr) {
    std::cout << "skipped: NIBBLE_ORT_NODE does not name an installed onnxruntime-node\n";
    return;
  }
  constexpr std::int64_t kImages = 200;
  const auto compare = [](IntModel model, Rng& rng) {
    const Tensor pixels = random_pixels(kImages, model.input.image, rng);
    center_logits(model, pixels.narrow(0, 0, 20));
    const Tensor logits = run_reference(model, pixels).back().codes.contiguous();
    CHECK(run_in_onnx_runtime(export_onnx(model, "model"), pixels, logits) == 0);
  };
  for (const int bits : {4, 8}) {
    Rng rng(static_cast<std::uint64_t>(bits));
    IntModel model = lab_model(bits, bits, rng);
    compare(model, rng);
    std::swap(model.input.codes[50], model.input.codes[200]);  // now the table is looked up
    compare(model, rng);
  }
  for (int seed = 0; seed < 4 * NIBBLE_TEST_REPEAT; ++seed) {
    INFO("seed " << seed);
    Rng rng(static_cast<std::uint64_t>(seed));
    compare(random_model(rng), rng);
  }

  Rng rng(9);
  nn::Sequential network = float_network(rng);
  const Tensor pixels = random_pixels(kImages, {1, 28, 28}, rng);
  const nn::EvalMode eval_mode(network);
  const NoGrad no_grad;
  const Tensor output = network(div(pixels.to(DType::float32), scalar(255))).value();
  CHECK(run_in_onnx_runtime(export_onnx(network, {1, 28, 28}, 255, "float"), pixels,
                            argmax(output, 1).to(DType::int32)) == 0);
}
