#include "apps/commands/read_digit.h"

#include <charconv>
#include <memory>
#include <stdexcept>

#include "data/gzip.h"
#include "data/idx.h"
#include "tensor/atomic_file.h"
#include "tensor/check.h"
#include "tensor/factory.h"
#include "tensor/format_error.h"

#define STB_IMAGE_IMPLEMENTATION
#define STB_IMAGE_STATIC
#define STBI_NO_STDIO
#define STBI_ONLY_PNG  // its other readers trust their files
#define STBI_MAX_DIMENSIONS 16384
#define STB_IMAGE_RESIZE_IMPLEMENTATION
#define STB_IMAGE_RESIZE_STATIC
#if defined(__GNUC__)
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wunused-but-set-variable"
#pragma GCC diagnostic ignored "-Wsign-compare"
#endif
#include <stb/stb_image.h>
#include <stb/stb_image_resize.h>
#if defined(__GNUC__)
#pragma GCC diagnostic pop
#endif

namespace nibble {
namespace {

constexpr int kSide = 28;
constexpr std::size_t kMaxIdxBytes = std::size_t{1} << 30, kMaxPictureBytes = std::size_t{1} << 28;

Tensor read_idx(const std::string& path, const std::string& number) {
  std::int64_t index = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), index);
  NIBBLE_CHECK(error == std::errc() && end == number.data() + number.size() && index >= 0, path, "#", number,
               ": expected the number of an image behind #");
  try {
    std::vector<std::byte> bytes = read_file(path);
    if (data::is_gzip(bytes)) bytes = data::gunzip(bytes, kMaxIdxBytes);
    const Tensor images = data::parse_idx(bytes);
    NIBBLE_CHECK(images.rank() == 3 && images.size(1) == kSide && images.size(2) == kSide, path, ": shape ",
                 images.shape(), ", expected images of 28 x 28");
    NIBBLE_CHECK(index < images.size(0), path, "#", index, ": there are ", images.size(0),
                 " images, from 0 on");
    return images.select(0, index).contiguous().reshape({1, 1, kSide, kSide});
  } catch (const FormatError& failure) {
    throw FormatError(path + ": " + failure.reason(), failure.offset());
  }
}

Tensor read_picture(const std::string& path) {
  const std::vector<std::byte> file = read_file(path);
  NIBBLE_CHECK(file.size() <= kMaxPictureBytes, path, ": ", file.size(),
               " bytes, expected a picture of at most ", kMaxPictureBytes);
  int width = 0, height = 0;
  const std::unique_ptr<stbi_uc, void (*)(void*)> grey(
      stbi_load_from_memory(reinterpret_cast<const stbi_uc*>(file.data()), static_cast<int>(file.size()),
                            &width, &height, nullptr, 1),
      stbi_image_free);
  if (grey == nullptr || width < 1 || height < 1)
    throw std::runtime_error(path + ": not a PNG picture that can be read");
  Tensor image = empty({1, 1, kSide, kSide}, DType::uint8);
  if (stbir_resize_uint8(grey.get(), width, height, 0, image.mutable_data<std::uint8_t>(), kSide, kSide, 0,
                         1) == 0)
    throw std::bad_alloc();
  return image;
}

}  // namespace

Tensor read_digit(const std::string& where, bool invert) {
  const std::size_t hash = where.rfind('#');
  Tensor image = hash == std::string::npos ? read_picture(where)
                                           : read_idx(where.substr(0, hash), where.substr(hash + 1));
  if (!invert) return image;
  Tensor inverted = image.clone();
  for (std::uint8_t& pixel : inverted.mutable_values<std::uint8_t>())
    pixel = static_cast<std::uint8_t>(255 - pixel);
  return inverted;
}

std::string ascii_picture(const Tensor& image) {
  static constexpr char kShades[] = " .:-=+*#%@";
  std::string text;
  for (std::int64_t y = 0; y < kSide; ++y) {
    for (std::int64_t x = 0; x < kSide; ++x)
      text.append(2, kShades[image.data<std::uint8_t>()[y * kSide + x] * 10 / 256]);
    text.erase(text.find_last_not_of(' ') + 1);
    text += '\n';
  }
  return text;
}

}  // namespace nibble
