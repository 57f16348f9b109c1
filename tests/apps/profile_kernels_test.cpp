#include <array>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "apps/plot/chart.h"
#include "apps/profile/kernel_layers.h"
#include "apps/profile/kernel_measurements.h"
#include "tests/apps/cli_support.h"
#include "tests/support/catch.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wsign-compare"
#pragma GCC diagnostic ignored "-Wconversion"
#pragma GCC diagnostic ignored "-Wsign-conversion"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#define STB_IMAGE_STATIC
#define STB_IMAGE_IMPLEMENTATION
#define STBI_ONLY_PNG
#include <stb/stb_image.h>
#pragma GCC diagnostic pop

using namespace nibble;

namespace {

const std::set<std::pair<int, int>> kMatrix = [] {
  std::set<std::pair<int, int>> cells = {{32, 32}};
  for (const int weight_bits : {1, 2, 4, 8})
    for (const int act_bits : {1, 2, 4, 8}) cells.emplace(weight_bits, act_bits);
  return cells;
}();

KernelLimits some_limits() {
  constexpr std::array<std::size_t, 2> kFootprints = {1 << 14, 1 << 16};
  return {1e11, {4e11, 5e11, 6e11}, ReadBandwidth(kFootprints)};
}

// Widest side of a picture that has more than one color; 0 if it is none.
int decoded_width(const std::string& path) {
  int width = 0, height = 0, channels = 0;
  stbi_uc* const pixels = stbi_load(path.c_str(), &width, &height, &channels, 3);
  if (pixels == nullptr) return 0;
  std::set<int> reds;
  for (int i = 0; i < width * height; ++i) reds.insert(pixels[3 * i]);
  stbi_image_free(pixels);
  return reds.size() > 2 ? width : 0;
}

}  // namespace

TEST_CASE("a kernel's shape is three sides") {
  CHECK(parse_kernel_shape("1x4096x784") == KernelShape{1, 4096, 784});
  CHECK(KernelShape{3, 4, 5}.name() == "3x4x5");
  CHECK(KernelShape{3, 4, 5}.operations() == 120);
  for (const char* text : {"", "x", "1x2", "1x2x", "1x2x3x4", "1x2x3 ", "0x1x1", "-1x1x1", "1x1x65537",
                           "1,2,3", "1x1x40000", "65536x65536x1", "1x65536x32768"})
    CHECK_THROWS_WITH(parse_kernel_shape(text),
                      Catch::Contains("'" + std::string(text) + "'") && Catch::Contains("expected"));
}

TEST_CASE("bandwidth between two footprints lies between theirs") {
  constexpr std::array<std::size_t, 2> kFootprints = {1 << 14, 1 << 20};
  const ReadBandwidth bandwidth(kFootprints);
  const double caches = bandwidth.table()[0].second, beyond = bandwidth.table()[1].second;
  CHECK(bandwidth.of(1) == caches);
  CHECK(bandwidth.of(1 << 14) == caches);
  CHECK(bandwidth.of(1 << 17) == Approx((caches + beyond) / 2));
  CHECK(bandwidth.of(1 << 20) == Approx(beyond));
  CHECK(bandwidth.of(1 << 30) == beyond);
  CHECK(Share{0.2, 0.1}.bound() == std::string("latency"));
  CHECK(Share{0.3, 0.2}.bound() == std::string("compute"));
  CHECK(Share{0.3, 0.4}.bound() == std::string("memory"));
}

TEST_CASE("every width of weights meets every width of activations, hot and cold") {
  const KernelLimits limits = some_limits();
  const KernelShape shape = GENERATE(KernelShape{1, 20, 50}, KernelShape{30, 20, 50});
  const KernelReport report =
      measure_kernels(shape, limits, {.budget = 1e-4, .cold_bytes = 1 << 16, .cold_from = 1});
  std::set<std::pair<int, int>> seen;
  for (const KernelCell& cell : report.cells) {
    seen.emplace(cell.weight_bits, cell.act_bits);
    CHECK(cell.hot.seconds > 0);
    REQUIRE(cell.cold);
    CHECK(cell.cold->seconds > 0);
    CHECK(cell.bytes > cell.weight_bytes);
    CHECK(cell.hot.share.operations == Approx(shape.operations() / cell.hot.seconds / cell.peak));
    REQUIRE(cell.parts.has_value() == (cell.weight_bits != kFloatBits));
    if (!cell.parts) continue;
    CHECK(cell.parts->rows > 0);
    CHECK(cell.parts->kernel > 0);
    CHECK((cell.family == "bit-serial" || cell.family == "dot"));
    CHECK(cell.parts->expanded == (cell.form != "packed"));
    if (cell.family == "bit-serial") CHECK(cell.peak == Approx(6e11 / (cell.weight_bits * cell.act_bits)));
    if (cell.family == "dot") CHECK(cell.peak == (cell.weight_bits < 8 ? 5e11 : 4e11));
  }
  CHECK(seen == kMatrix);
  CHECK(report.cells.size() == kMatrix.size());
  CHECK(report.at(4, 2).act_bits == 2);
  CHECK_THROWS_AS(report.at(3, 2), std::out_of_range);
  // Small weights are not measured cold unless asked for.
  const KernelReport hot = measure_kernels(shape, limits, {.budget = 1e-4, .cold_bytes = 1 << 16});
  CHECK_FALSE(hot.at(8, 8).cold);
}

TEST_CASE("fewer bits pay from the size on at which they are faster at all larger ones") {
  std::vector<LayerSpeed> layers;
  const auto add = [&](std::int64_t size, double eight, double four) {
    layers.push_back({size, 1, 8, 8, eight});
    layers.push_back({size, 64, 8, 8, 1});
    layers.push_back({size, 1, 4, 8, four});
  };
  add(64, 1, 0.5);
  add(128, 1, 1);
  add(256, 3, 2);
  add(512, 4, 2);
  const LayerCurve curve = curve_of(layers, 1, 4, 8);
  CHECK(curve.sizes == std::vector<std::int64_t>{64, 128, 256, 512});
  CHECK(curve.at(512) == 2);
  CHECK_THROWS_AS(curve.at(1024), std::out_of_range);
  CHECK(curve.crossover() == 256);
  CHECK_FALSE(curve_of(layers, 1, 8, 8).crossover());
  CHECK(curve_of(layers, 64, 4, 8).sizes.empty());
}

TEST_CASE("charts have logarithmic axes both ways") {
  Canvas canvas(400, 300);
  const Chart decades(canvas, {0, 0, 400, 300}, "", {.title = "", .low = 3, .high = 150, .log10 = true},
                      {.title = "", .low = 0.3, .high = 7, .log2 = true});
  CHECK(decades.x_range() == std::pair(2.0, 200.0));
  CHECK(decades.y_range() == std::pair(0.25, 8.0));
  CHECK(decades.px(20) == Approx((decades.px(2) + decades.px(200)) / 2));
  CHECK(decades.py(0.5) - decades.py(1) == Approx(decades.py(4) - decades.py(8)));
  const Chart wide(canvas, {0, 0, 400, 300}, "", {.title = "", .low = 0.02, .high = 3e5, .log10 = true},
                   {.title = "", .low = 1, .high = 1, .log2 = true});
  CHECK(wide.x_range().first == Approx(0.01));
  CHECK(wide.x_range().second == Approx(1e6));
  CHECK(wide.y_range() == std::pair(1.0, 2.0));
}

TEST_CASE("profile kernels: a table, reasons, JSON and three pictures") {
  const test::TempFolder folder;
  const std::string json = folder.file("kernels.json"), out = folder.file("figures");
  const test::Outcome outcome =
      test::nibble_program({"profile", "kernels", "--quick", "--shape", "1x32x64", "--shape", "20x16x72",
                            "--why", "20x16x72", "--threads", "2", "--json", json, "--out", out});
  INFO(outcome.err);
  REQUIRE(outcome.code == 0);
  CHECK(outcome.err.empty());
  for (const char* word :
       {"\n1x32x64: ", "\n20x16x72: ", "2 threads", "f32", "sgemm", "dot", "unpack", "bound by", "batch 64",
        "Why, at 20x16x72", "8 bits, weights hot", "So with activations of 8 bits"})
    CHECK(outcome.out.find(word) != std::string::npos);
  CHECK(outcome.out.find("Why, at 1x32x64") == std::string::npos);

  const auto document = nlohmann::json::parse(test::read_text(json));
  REQUIRE(document["shapes"].size() == 2);
  for (const auto& shape : document["shapes"]) {
    std::set<std::pair<int, int>> seen;
    for (const auto& cell : shape["cells"]) {
      seen.emplace(cell["weight_bits"], cell["act_bits"]);
      CHECK(cell["hot"]["seconds"].get<double>() > 0);
      CHECK(cell["hot"]["operations_per_second"].get<double>() > 0);
      CHECK(cell["cold"].is_null());
    }
    CHECK(seen == kMatrix);
  }
  for (const char* peak : {"float32", "bytes", "codes", "bits"})
    CHECK(document["peaks"][peak].get<double>() > 0);
  CHECK(document["threads"] == 2);
  CHECK(document["layers"].size() == 3 * 2 * 6);
  CHECK(document["crossovers"].size() == 2 * 3);
  for (const char* name : {"roofline.png", "layers-batch-1.png", "layers-batch-64.png"}) {
    INFO(name);
    CHECK(decoded_width(out + "/" + name) > 1000);
  }
}

TEST_CASE("profile kernels refuses bad flags and places that cannot be written before it measures") {
  const test::TempFolder folder;
  const auto fails = [](std::vector<std::string> arguments, const std::string& named) {
    arguments.insert(arguments.begin(), {"profile", "kernels"});
    const test::Outcome outcome = test::nibble_program(arguments);
    test::check_fails(outcome, named);
    CHECK(outcome.out.empty());
  };
  fails({"--shape", "1x2"}, "'1x2'");
  fails({"--why", "fast"}, "'fast'");
  fails({"--threads", "0"}, "--threads");
  fails({"--json", folder.file("none/kernels.json")}, "none/kernels.json");
  fails({"--json", folder.path().string()}, folder.path().string());
  fails({"--out", "/dev/null"}, "/dev/null");
  fails({"--isa", "avx2"}, "--isa");
}

TEST_CASE("Ctrl-C ends profile kernels between two measurements, and nothing is written") {
  const test::TempFolder folder;
  const std::string out = folder.file("out");
  test::Process process({"profile", "kernels", "--shape", "64x1024x1024", "--out", out});
  while (!std::filesystem::exists(out)) {
    REQUIRE(process.running());
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  process.signal(SIGINT);
  const test::Outcome outcome = process.wait();
  CHECK(outcome.code == 130);
  CHECK(outcome.err == "nibble: interrupted\n");
  CHECK(std::filesystem::is_empty(out));
}
