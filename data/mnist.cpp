#include "data/mnist.h"

#include <algorithm>
#include <cstdlib>

#include "data/gzip.h"
#include "data/idx.h"
#include "tensor/sha256.h"
#include "tensor/atomic_file.h"
#include "tensor/format_error.h"

namespace nibble::data {
namespace {

namespace fs = std::filesystem;

using Hashes = std::map<std::string, std::string>;

const Hashes& mnist_hashes() {
  static const Hashes hashes = {
      {"train-images-idx3-ubyte", "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"},
      {"train-labels-idx1-ubyte", "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"},
      {"t10k-images-idx3-ubyte", "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"},
      {"t10k-labels-idx1-ubyte", "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"}};
  return hashes;
}

// Of Debian's package dataset-fashion-mnist.
const Hashes& fashion_mnist_hashes() {
  static const Hashes hashes = {
      {"train-images-idx3-ubyte", "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"},
      {"train-labels-idx1-ubyte", "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"},
      {"t10k-images-idx3-ubyte", "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"},
      {"t10k-labels-idx1-ubyte", "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"}};
  return hashes;
}

// MNIST's largest file is 47 MB; ten times that is no MNIST-like set any more.
constexpr std::size_t kMaxBytes = 512u << 20;

fs::path find_file(const fs::path& folder, const std::string& base_name) {
  std::string dotted = base_name;
  dotted[dotted.find("-idx")] = '.';
  for (const std::string& name : {base_name, dotted})
    for (const char* ending : {"", ".gz"})
      if (fs::exists(folder / (name + ending))) return folder / (name + ending);
  if (!fs::is_directory(folder))
    throw std::system_error(std::make_error_code(std::errc::not_a_directory), folder.string());
  throw std::system_error(std::make_error_code(std::errc::no_such_file_or_directory),
                          (folder / base_name).string() + "[.gz]");
}

// Adds the path to what a parser says.
template <class F>
auto naming(const fs::path& path, F parse) {
  try {
    return parse();
  } catch (const FormatError& error) {
    throw FormatError(path.string() + ": " + error.reason(), error.offset());
  }
}

LabelledImages load_split(const fs::path& folder, const char* image_file, const char* label_file,
                          Hashes& hashes) {
  const auto load = [&](const char* base_name) {
    const auto bytes = read_mnist_file(folder, base_name);
    hashes[base_name] = sha256(bytes);
    return naming(find_file(folder, base_name), [&] { return parse_idx(bytes); });
  };
  const Tensor images = load(image_file), labels = load(label_file);
  const fs::path image_path = find_file(folder, image_file), label_path = find_file(folder, label_file);
  const auto refuse = [](const fs::path& path, const std::string& reason, std::uint64_t offset) {
    throw FormatError(path.string() + ": " + reason, offset);
  };
  if (images.rank() != 3 || images.size(1) != 28 || images.size(2) != 28)
    refuse(image_path, detail::concat("images of shape ", images.shape(), ", expected [N, 28, 28]"), 4);
  if (labels.rank() != 1)
    refuse(label_path, detail::concat("labels of shape ", labels.shape(), ", expected [N]"), 4);
  if (images.size(0) == 0) refuse(image_path, "holds no images", 4);
  if (images.size(0) != labels.size(0))
    refuse(label_path, detail::concat(labels.size(0), " labels for ", images.size(0), " images"), 4);
  const auto values = labels.values<std::uint8_t>();
  const auto wrong = std::find_if(values.begin(), values.end(), [](std::uint8_t label) { return label > 9; });
  if (wrong != values.end())
    refuse(label_path, detail::concat("label ", int{*wrong}, ", expected 0 to 9"),
           8 + static_cast<std::uint64_t>(wrong - values.begin()));
  return {images, labels.to(DType::int64)};
}

}  // namespace

const std::string& mnist_sha256(const std::string& base_name) { return mnist_hashes().at(base_name); }

std::vector<std::byte> read_mnist_file(const fs::path& folder, const std::string& base_name) {
  const fs::path path = find_file(folder, base_name);
  std::vector<std::byte> bytes = read_file(path);
  if (!is_gzip(bytes)) return bytes;
  return naming(path, [&] { return gunzip(bytes, kMaxBytes); });
}

Mnist load_mnist(const fs::path& folder) {
  Mnist set;
  set.train = load_split(folder, kMnistFiles[0], kMnistFiles[2], set.sha256);
  set.test = load_split(folder, kMnistFiles[1], kMnistFiles[3], set.sha256);
  set.name = set.sha256 == mnist_hashes()           ? "MNIST"
             : set.sha256 == fashion_mnist_hashes() ? "Fashion-MNIST"
                                                    : "unknown";
  return set;
}

fs::path default_data_folder() {
  const char* cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache != '\0') return fs::path(cache) / "nibble" / "mnist";
  const char* home = std::getenv("HOME");
  return fs::path(home != nullptr && *home != '\0' ? home : ".") / ".cache" / "nibble" / "mnist";
}

fs::path find_data(const std::string& given) {
  if (!given.empty()) return given;
  const char* variable = std::getenv("NIBBLE_DATA");
  if (variable != nullptr && *variable != '\0') return variable;
  if (fs::exists(default_data_folder())) return default_data_folder();
  throw std::runtime_error(
      "no data set: pass --data DIR, set NIBBLE_DATA, or run `nibble data fetch` (which fills " +
      default_data_folder().string() + ")");
}

}  // namespace nibble::data
