#include "quant/integer/export_c.h"

#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>

#include "quant/integer/reference.h"
#include "quant/integer/trace_hash.h"
#include "quant/multiplier.h"
#include "tensor/factory.h"
#include "tests/support/catch.h"

// Exported programs depend on no tier: [tiers] has them compiled and run once instead of once a tier.

using namespace nibble;
using namespace nibble::quant;

namespace {

int between(Rng& rng, int lo, int hi) {
  return lo + static_cast<int>(rng.below(static_cast<unsigned>(hi - lo + 1)));
}

CodeFormat codes(int bit_width, bool is_signed, int zero_point) {
  const int lo = is_signed ? -(1 << (bit_width - 1)) : 0;
  return {bit_width, is_signed, zero_point, lo, lo + (1 << bit_width) - 1, 1};
}

CodeFormat relu(int bit_width) { return codes(bit_width, false, 0); }

CodeFormat sums() {
  CodeFormat format;
  format.bit_width = 32;
  return format;
}

// A network of random integers.
class Builder {
 public:
  Builder(std::uint64_t seed, const Shape& image, const CodeFormat& format)
      : rng_(seed), shape_(image), format_(format) {
    model_.input.image = image;
    model_.input.format = format;
    for (std::int16_t& code : model_.input.codes)
      code = static_cast<std::int16_t>(between(rng_, format.lo, format.hi));
  }

  // per_channel 0: not requantized
  Builder& conv(const Shape& weight, const ConvOptions& options, int bits, const CodeFormat& out,
                int per_channel = 1) {
    IntProduct layer;
    layer.weight = empty(weight, DType::int8);
    const int most = bits == 1 ? 1 : (1 << (bits - 1)) - 1;
    for (std::int8_t& w : layer.weight.mutable_values<std::int8_t>())
      w = static_cast<std::int8_t>(bits == 1 ? 2 * between(rng_, 0, 1) - 1 : between(rng_, -most, most));
    layer.weight_bits = bits;
    layer.options = options;
    layer.weight_scale = {1};
    layer.out = out;
    const double taps = static_cast<double>(layer.weight.numel() / weight[0]);
    const double spread = std::sqrt(taps) * most * (format_.hi - format_.lo);
    for (std::int64_t k = 0; k < weight[0]; ++k)
      layer.bias.push_back(between(rng_, static_cast<int>(-spread / 8), static_cast<int>(spread / 8)));
    const std::int64_t multipliers = per_channel == 0 ? 0 : per_channel == 1 ? weight[0] : 1;
    for (std::int64_t k = 0; k < multipliers; ++k) {
      // Of sums that differ by `spread`, some leave the range.
      const double range = out.bit_width == 32 ? 1e6 : out.hi - out.lo;
      const Multiplier m = make_multiplier(range * (0.5 + rng_.uniform()) / spread);
      layer.multiplier.push_back(m.multiplier);
      layer.shift.push_back(m.shift);
    }
    return add(std::move(layer));
  }
  Builder& linear(std::int64_t outputs, int bits, const CodeFormat& out, int per_channel = 1) {
    return conv({outputs, shape_.numel()}, {}, bits, out, per_channel);
  }
  Builder& pool(Size2 kernel, const PoolOptions& options = {}) {
    return add(IntMaxPool{"", kernel, options});
  }
  Builder& flatten() { return add(IntFlatten{}); }

  IntModel model() const {
    check(model_);
    return model_;
  }

 private:
  template <class Layer>
  Builder& add(Layer layer) {
    layer.name = "a*/\"\\\n layer " + std::to_string(model_.layers.size());  // whatever names are like
    shape_ = output_shape(IntLayer(layer), shape_);
    format_ = output_format(IntLayer(layer), format_);
    model_.layers.push_back(std::move(layer));
    return *this;
  }

  Rng rng_;
  IntModel model_;
  Shape shape_;
  CodeFormat format_;
};

constexpr int kPerTensor = 2, kNone = 0;

CodeFormat sums_of_32_bits() {
  CodeFormat format = sums();
  format.is_signed = true;
  format.lo = -2147483647;
  format.hi = 2147483647;
  return format;
}

IntModel lab_model() {
  return Builder(1, {1, 28, 28}, codes(4, true, 0))
      .conv({8, 1, 3, 3}, {.padding = 1}, 4, relu(4))
      .pool(2)
      .conv({16, 8, 3, 3}, {.padding = 1}, 4, relu(4))
      .pool(2)
      .flatten()
      .linear(10, 4, sums(), kNone)
      .model();
}

std::vector<IntModel> models() {
  CodeFormat narrow = codes(6, true, -3);
  narrow.lo = -20;
  narrow.hi = 17;
  CodeFormat raised = codes(8, false, 31);
  raised.lo = 31;
  return {
      lab_model(),
      // Strides, windows of unequal sides, pools that write over their input and such that must not.
      Builder(2, {3, 11, 14}, codes(8, false, 77))
          .conv({5, 3, 3, 2}, {.stride = {2, 1}, .padding = {2, 0}}, 8, narrow, kPerTensor)
          .pool(3, {.stride = 1, .padding = 1})
          .pool({2, 3}, {.stride = {2, 1}, .padding = {1, 0}, .ceil_mode = true})
          .flatten()
          .linear(7, 3, codes(5, true, 2))
          .linear(4, 2, sums_of_32_bits())
          .model(),
      // Groups, dilation, all of an image in the padding.
      Builder(3, {4, 9, 8}, codes(2, true, -1))
          .conv({6, 2, 2, 3}, {.padding = 2, .dilation = {3, 2}, .groups = 2}, 2, codes(1, false, 0))
          .pool(2, {.stride = 1, .padding = 1, .dilation = 2})
          .conv({6, 1, 3, 3}, {.stride = 2, .padding = 3, .groups = 6}, 1, raised)
          .pool(3, {.stride = 2, .padding = 1})
          .conv({3, 6, 1, 1}, {.stride = 3}, 7, codes(8, true, -128))
          .model(),
      // Pools that would spoil their input, once by rows and once by columns; one without a code in its
      // windows.
      Builder(4, {2, 5, 6}, codes(3, true, 3))
          .pool({3, 1}, {.stride = 1, .padding = {1, 0}})
          .pool({1, 3}, {.stride = 1, .padding = {0, 1}})
          .pool({1, 3}, {.stride = 1, .padding = {0, 1}})
          .pool({3, 1}, {.stride = 1, .padding = {1, 0}})
          .pool(2, {.stride = 1})
          .pool(2, {.stride = 3, .padding = 1, .dilation = 5})
          .flatten()
          .flatten()
          .linear(1, 5, sums(), kNone)
          .model(),
      Builder(5, {1, 1, 13}, codes(8, true, 5))
          .flatten()
          .linear(9, 1, narrow, kPerTensor)
          .linear(3, 8, sums(), kNone)
          .model(),
  };
}

// Sums from -7 to 7 by every kind of shift: all of them ties, most of them, saturated results, mere signs.
IntModel rounding_model() {
  Builder builder(6, {1, 1, 1}, codes(4, true, 0));
  builder.flatten().linear(12, 2, sums_of_32_bits());
  IntModel model = builder.model();
  for (int i = 0; i < 256; ++i)
    model.input.codes[static_cast<std::size_t>(i)] = static_cast<std::int16_t>(i % 16 - 8);
  auto& layer = std::get<IntProduct>(model.layers.back());
  layer.weight = ones({12, 1}, DType::int8);
  layer.bias.assign(12, 0);
  layer.shift = {0, 1, 29, 30, 31, 32, 33, 34, 60, 61, 62, 62};
  layer.multiplier.assign(12, 1 << 30);
  layer.multiplier[0] = (1 << 30) + 1;
  layer.multiplier[1] = layer.multiplier[11] = 2147483647;
  layer.bias[9] = 1 << 30, layer.bias[10] = -(1 << 30), layer.bias[11] = 2147483647 - 8;
  layer.out.zero_point = -5;
  check(model);
  return model;
}

Tensor random_pixels(const IntModel& model, std::int64_t n, std::uint64_t seed) {
  Rng rng(seed);
  Tensor pixels = empty(model.input.image.inserted(0, n), DType::uint8);
  for (std::uint8_t& p : pixels.mutable_values<std::uint8_t>()) p = static_cast<std::uint8_t>(rng.below(256));
  return pixels;
}

// What the driver is to write.
struct Results {
  std::vector<std::int32_t> logits;
  std::vector<std::uint64_t> hashes;
  friend bool operator==(const Results&, const Results&) = default;
};

Results expected_results(const IntModel& model, const Tensor& pixels) {
  const IntTrace trace = run_reference(model, pixels);
  Results results;
  for (std::int64_t i = 0; i < pixels.size(0); ++i) {
    const auto image = [&](const Tensor& batch) { return batch.contiguous().narrow(0, i, 1).contiguous(); };
    const Tensor logits = image(trace.back().codes);
    results.logits.insert(results.logits.end(), logits.values<std::int32_t>().begin(),
                          logits.values<std::int32_t>().end());
    for (const LayerTrace& layer : trace)
      for (const Tensor& values : {layer.accumulators, layer.codes})
        if (values.defined()) results.hashes.push_back(trace_hash(image(values).values<std::int32_t>()));
  }
  return results;
}

// A folder with a program in it, compiled by the system's compiler.
class Program {
 public:
  Program() {
    std::string path = (std::filesystem::temp_directory_path() / "nibble-test-XXXXXX").string();
    if (mkdtemp(path.data()) == nullptr) throw std::runtime_error("cannot make " + path);
    folder_ = path;
  }
  ~Program() { std::filesystem::remove_all(folder_); }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  bool compile(const CSources& sources, const std::string& driver, const std::string& flags) {
    write("net.h", sources.header);
    write("net.c", sources.source);
    write("main.c", driver);
    return shell("${CC:-cc} -std=c99 -pedantic -Wall -Wextra -Werror " + flags) == 0;
  }

  Results run(const Tensor& pixels, std::int64_t logits) {
    const auto bytes = pixels.values<std::uint8_t>();
    write("pixels", std::string(bytes.begin(), bytes.end()));
    REQUIRE(shell("./a.out <pixels >results") == 0);
    std::ifstream in(folder_ / "results", std::ios::binary);
    const std::string text{std::istreambuf_iterator<char>(in), {}};
    const auto n = static_cast<std::size_t>(pixels.size(0)), words = text.size() / n;
    Results results;
    const auto little_endian = [&](std::size_t at, std::size_t size) {
      std::uint64_t value = 0;
      for (std::size_t i = size; i-- > 0;) value = value << 8 | static_cast<unsigned char>(text.at(at + i));
      return value;
    };
    for (std::size_t at = 0; at < text.size(); at += words) {
      const std::size_t hashes = at + 4 * static_cast<std::size_t>(logits);
      for (std::size_t i = at; i < hashes; i += 4)
        results.logits.push_back(static_cast<std::int32_t>(little_endian(i, 4)));
      for (std::size_t i = hashes; i < at + words; i += 8) results.hashes.push_back(little_endian(i, 8));
    }
    return results;
  }

  // Exit status; what is printed goes where the test's own goes.
  int shell(const std::string& command) {
    const int status = std::system(("cd '" + folder_.string() + "' && " + command).c_str());
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  void write(const std::string& name, const std::string& contents) {
    std::ofstream(folder_ / name, std::ios::binary) << contents;
  }
  std::filesystem::path folder_;
};

constexpr const char* kTraced = "-O1 -DNET_TRACE net.c main.c";

bool has_compiler(const std::string& flags = "") {
  const bool has = Program().compile({"", "int main(void) { return 0; }\n"}, "typedef int nothing;\n",
                                     flags + " net.c main.c");
  if (!has) WARN("skipped: no C compiler that takes \"" << flags << "\" is installed");
  return has;
}

// The last digit of an array's first number becomes another.
std::string with_first_changed(std::string source, const std::string& array) {
  const std::size_t at = source.find(',', source.find("= {", source.find(array + "["))) - 1;
  REQUIRE(at < source.size());
  source[at] = source[at] == '1' ? '2' : '1';
  return source;
}

}  // namespace

TEST_CASE("export_c: a program computes every integer of the reference, in its arena and as C defines",
          "[tiers]") {
  if (!has_compiler()) return;
  const std::string sanitizers = " -fsanitize=undefined,address -fno-sanitize-recover=all ";
  const bool sanitized = has_compiler(sanitizers);
  std::vector<IntModel> all = models();
  all.push_back(rounding_model());
  for (const IntModel& model : all) {
    const Tensor pixels = random_pixels(model, 20, 9);
    Program program;
    const CSources sources = export_c(model, "net", pixels.narrow(0, 0, 3), "");
    INFO(sources.source);
    REQUIRE(program.compile(sources, export_c_driver(model, "net"), kTraced + (sanitized ? sanitizers : "")));
    CHECK(program.run(pixels, logits_of(model)) == expected_results(model, pixels));
    CHECK(program.shell("./a.out self-test") == 0);
  }
}

TEST_CASE("export_c: the program is C99 without warnings, whatever is left out", "[tiers]") {
  if (!has_compiler()) return;
  for (const IntModel& model : models()) {
    Program program;
    const CSources sources = export_c(model, "net", random_pixels(model, 1, 1), "");
    CHECK(program.compile(sources, "", "-O2 -c net.c"));
    CHECK(program.compile(sources, "", "-Os -Wconversion -DNET_NO_SELF_TEST -c net.c"));
  }
}

TEST_CASE("export_c: a wrong weight or code is seen in its layer's hash, behind it, and by the self test",
          "[tiers]") {
  if (!has_compiler()) return;
  const IntModel model = lab_model();
  const Tensor pixels = random_pixels(model, 3, 2);
  const CSources sources = export_c(model, "net", pixels, "");
  const Results expected = expected_results(model, pixels);
  // Hashes of one image: input; sums, codes of conv1; pool1; sums, codes of conv2; pool2; flatten; sums,
  // logits.
  const std::size_t per_image = expected.hashes.size() / 3;
  REQUIRE(per_image == 10);
  const auto mutate = [&](const std::string& array, std::size_t first) {
    INFO(array);
    Program program;
    REQUIRE(program.compile({sources.header, with_first_changed(sources.source, array)},
                            export_c_driver(model, "net"), kTraced));
    const Results actual = program.run(pixels, 10);
    REQUIRE(actual.hashes.size() == expected.hashes.size());
    std::size_t differing = 0;
    for (std::size_t i = 0; i < actual.hashes.size(); ++i) {
      const bool is_same = actual.hashes[i] == expected.hashes[i];
      if (i % per_image < first) CHECK(is_same);
      if (i % per_image == first && !is_same) ++differing;
    }
    CHECK(differing > 0);
    CHECK(actual.logits != expected.logits);
    CHECK(program.shell("./a.out self-test") == 1);
  };
  mutate("layer1_weight", 1);
  mutate("layer3_weight", 4);
  mutate("layer3_bias", 4);
  mutate("layer6_weight", 8);
  mutate("input", 0);
}

TEST_CASE("export_c: the self test sees wrong constants that no image shows", "[tiers]") {
  if (!has_compiler()) return;
  IntModel model = lab_model();
  model.input.codes.fill(0);
  for (IntLayer& layer : model.layers)
    if (auto* const product = std::get_if<IntProduct>(&layer)) product->bias.assign(product->bias.size(), 0);
  const CSources sources = export_c(model, "net", random_pixels(model, 1, 1), "");
  const std::string main = "#include \"net.h\"\nint main(void) { return net_self_test() != -1; }\n";
  for (const char* array : {"layer1_weight", "layer3_multiplier", "layer3_shift", "layer6_weight"}) {
    INFO(array);
    Program program;
    REQUIRE(
        program.compile({sources.header, with_first_changed(sources.source, array)}, main, "net.c main.c"));
    CHECK(program.shell("./a.out") == 0);
  }
}

TEST_CASE("export_c: the driver wants whole images", "[tiers]") {
  if (!has_compiler()) return;
  const IntModel model = rounding_model();
  Program program;
  REQUIRE(program.compile(export_c(model, "net", random_pixels(model, 1, 1), ""),
                          export_c_driver(model, "net"), kTraced));
  CHECK(program.shell("./a.out </dev/null") == 0);
  const IntModel lab = lab_model();
  REQUIRE(program.compile(export_c(lab, "net", random_pixels(lab, 1, 1), ""), export_c_driver(lab, "net"),
                          kTraced));
  CHECK(program.shell("printf 12345 | ./a.out 2>errors") == 2);
  CHECK(program.shell("grep -q 'has 5 bytes, expected 784' errors") == 0);
}

TEST_CASE("export_c: weights are packed at their bits, sizes and certificate are in the header", "[tiers]") {
  const IntModel lab = lab_model();
  const CSources sources = export_c(lab, "Lab_1", random_pixels(lab, 1, 1), "c0ffEE");
  for (const char* line :
       {"#define LAB_1_PIXELS 784\n", "#define LAB_1_LOGITS 10\n", "#define LAB_1_ARENA_BYTES 7056\n",
        "#define LAB_1_CERTIFICATE \"c0ffEE\"\n", "int Lab_1_infer(const uint8_t pixels[LAB_1_PIXELS]",
        "int Lab_1_self_test(void);\n"})
    CHECK_THAT(sources.header, Catch::Contains(line));
  CHECK_THAT(sources.source,
             Catch::Contains("certificate c0ffEE;") && Catch::Contains("layer6_weight[3920]"));
  for (const char* word : {"float", "double", "malloc", "memcpy"})
    CHECK_THAT(sources.source, !Catch::Contains(word));

  const auto first_weights = [](int bits, const std::vector<std::int8_t>& weights) {
    IntModel model = Builder(1, {1, 1, 5}, codes(2, true, 0)).flatten().linear(1, bits, sums(), 0).model();
    std::get<IntProduct>(model.layers.back()).weight = from_values({1, 5}, weights);
    const std::string source = export_c(model, "net", random_pixels(model, 1, 1), "").source;
    const std::size_t begin = source.find("{\n", source.find("layer2_weight[")) + 4;
    return source.substr(begin, source.find("\n}", begin) - begin);
  };
  CHECK(first_weights(1, {1, -1, 1, 1, -1}) == "13,");
  CHECK(first_weights(2, {1, -1, 0, 1, -1}) == "77, 3,");
  CHECK(first_weights(3, {3, -3, 0, 1, -1}) == "211, 16, 15,");
  CHECK(first_weights(4, {7, -7, 0, 1, -1}) == "151, 16, 15,");
  CHECK(first_weights(5, {15, -15, 0, 1, -1}) == "15, 241, 0, 1, 255,");
}

TEST_CASE("export_c: what does not fit is named", "[tiers]") {
  const IntModel model = rounding_model();
  const Tensor pixels = random_pixels(model, 1, 1);
  for (const char* name : {"", "1net", "net-1", "net.c", "n\xc3\xa9t", "net\n"}) {
    CHECK_THROWS_WITH(export_c(model, name, pixels, ""), Catch::Contains("\"" + std::string(name) + "\"") &&
                                                             Catch::Contains("expected a C identifier"));
    CHECK_THROWS_AS(export_c_driver(model, name), std::invalid_argument);
  }
  CHECK_THROWS_WITH(export_c(model, "net", pixels, "c0ffee\""),
                    Catch::Contains("c0ffee\"") && Catch::Contains("hexadecimal"));
  for (const Tensor& wrong : {Tensor(), zeros({1, 1, 1, 1}), zeros({0, 1, 1, 1}, DType::uint8),
                              zeros({1, 1, 1}, DType::uint8), zeros({1, 1, 1, 2}, DType::uint8)})
    CHECK_THROWS_WITH(export_c(model, "net", wrong, ""), Catch::Contains("uint8 images of shape [1, 1, 1]"));

  IntModel broken = model;
  std::get<IntProduct>(broken.layers.back()).bias.pop_back();
  CHECK_THROWS_WITH(export_c(broken, "net", pixels, ""), Catch::Contains("biases"));

  IntModel huge = model;
  huge.layers.insert(huge.layers.begin(), IntMaxPool{"wide", 1, {.stride = std::int64_t{1} << 40}});
  CHECK_THROWS_WITH(export_c(huge, "net", pixels, ""), Catch::Contains("wide") &&
                                                           Catch::Contains("stride is 1099511627776") &&
                                                           Catch::Contains("2^28"));
}
