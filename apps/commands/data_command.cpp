#include "apps/commands/data_command.h"

#include <fmt/core.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "apps/plot/png.h"
#include "apps/terminal/download.h"
#include "apps/terminal/output_file.h"
#include "apps/terminal/validators.h"
#include "apps/training/augmentation.h"
#include "data/dataset.h"

namespace nibble {
namespace {

struct Options {
  std::string data, out = "images.png", rotate = "45";
  std::uint64_t seed = 0;
  int count = 32;
};

const std::vector<std::string> kMirrors = {"https://ossci-datasets.s3.amazonaws.com/mnist/",
                                           "https://storage.googleapis.com/cvdf-datasets/mnist/"};

void describe(const data::Mnist& set, const std::string& folder) {
  fmt::print("{}: {}, {} training and {} test images, labels 0 to 9\n", folder, set.name,
             set.train.images.size(0), set.test.images.size(0));
}

void fetch(const Options& options) {
  const std::filesystem::path folder =
      options.data.empty() ? data::default_data_folder() : std::filesystem::path(options.data);
  std::vector<RemoteFile> files;
  for (const char* name : data::kMnistFiles) files.push_back({name, data::mnist_sha256(name)});
  download(files, kMirrors, folder);
  describe(data::load_mnist(folder), folder.string());
}

void verify(const Options& options) {
  const std::filesystem::path folder = data::find_data(options.data);
  const data::Mnist set = data::load_mnist(folder);
  describe(set, folder.string());
  for (const auto& [name, hash] : set.sha256) fmt::print("{}  {}\n", hash, name);
}

// Two panels of kColumns images a row: as stored on the left, as a network gets them on the right.
class ContactSheet {
 public:
  ContactSheet(int count, int side)
      : side_(side),
        pitch_(side + kGap),
        width_(2 * kColumns * pitch_ + kGutter),
        height_((count + kColumns - 1) / kColumns * pitch_ + kGap),
        pixels_(static_cast<std::size_t>(width_ * kZoom * height_ * kZoom), kGround) {}

  void place(int index, bool right, std::span<const std::uint8_t> image) {
    const int left =
        kGap + (index % kColumns + (right ? kColumns : 0)) * pitch_ + (right ? kGutter - kGap : 0);
    const int top = kGap + index / kColumns * pitch_;
    for (int y = 0; y < side_ * kZoom; ++y)
      for (int x = 0; x < side_ * kZoom; ++x)
        pixels_[static_cast<std::size_t>((top * kZoom + y) * width_ * kZoom + left * kZoom + x)] =
            image[static_cast<std::size_t>(y / kZoom * side_ + x / kZoom)];
  }
  void write(const std::string& path) const { write_png(path, width_ * kZoom, height_ * kZoom, 1, pixels_); }

 private:
  static constexpr int kColumns = 8, kGap = 2, kGutter = 14, kZoom = 2;
  static constexpr std::uint8_t kGround = 90;
  int side_, pitch_, width_, height_;
  std::vector<std::uint8_t> pixels_;
};

void show(const Options& options) {
  check_writable(options.out);
  const Augmentation range = parse_rotation(options.rotate);
  const std::filesystem::path folder = data::find_data(options.data);
  data::Dataset set{data::load_mnist(folder).train, {}, options.seed};
  set = set.first(options.count);
  const data::Dataset augmented{
      set.source, {data::RandomHorizontalFlip{1}, data::RandomRotation(range.low, range.high)}, options.seed};
  const int count = static_cast<int>(set.size()), side = static_cast<int>(set.source.images.size(1));
  ContactSheet sheet(count, side);
  const auto place_all = [&](const data::Dataset& images, bool right) {
    const auto pixels = images.frozen().source.images.contiguous();
    const auto size = static_cast<std::size_t>(side * side);
    for (int i = 0; i < count; ++i)
      sheet.place(i, right, pixels.values<std::uint8_t>().subspan(static_cast<std::size_t>(i) * size, size));
  };
  place_all(set, false);
  place_all(augmented, true);
  sheet.write(options.out);
  fmt::print(
      "{}: {} training images, left as stored, right mirrored and rotated by {}..{} degrees (seed {})\n",
      options.out, count, range.low, range.high, options.seed);
}

}  // namespace

void add_data_command(CLI::App& app) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("data", "Download, check or look at the images");
  command->require_subcommand(1);
  command->footer("Example: nibble data fetch && nibble data show --out digits.png");

  const auto add = [&](const char* name, const char* about, void (*run)(const Options&)) {
    CLI::App* sub = command->add_subcommand(name, about);
    sub->callback([options, run] { run(*options); });
    return sub;
  };
  const char* const kFolder = "Folder with the IDX files (else $NIBBLE_DATA, ~/.cache/nibble/mnist)";
  CLI::App* sub = add("fetch", "Download MNIST with curl and check its SHA-256", fetch);
  sub->add_option("--data", options->data, "Folder to fill (else ~/.cache/nibble/mnist)");
  sub->footer("Example: nibble data fetch --data mnist");

  sub = add("verify", "Check the files; print counts, name and SHA-256", verify);
  sub->add_option("--data", options->data, kFolder);
  sub->footer("Example: nibble data verify --data mnist");

  sub = add("show", "Write a contact sheet (PNG), before and after augmentation", show);
  sub->add_option("--data", options->data, kFolder);
  sub->add_option("--out", options->out, "PNG to write")->capture_default_str();
  sub->add_option("--seed", options->seed, "Of the rotations")->check(seed())->capture_default_str();
  sub->add_option("--rotate", options->rotate, "DEG or LO,HI: range of the random rotation")
      ->capture_default_str();
  sub->add_option("--count", options->count, "Images")->check(CLI::Range(1, 1000))->capture_default_str();
  sub->footer("Example: nibble data show --count 64 --rotate 30 --out digits.png");
}

}  // namespace nibble
