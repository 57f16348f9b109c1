#include "quant/integer/certificate.h"

#include <algorithm>
#include <cstring>
#include <functional>

#include "quant/integer/trace_hash.h"
#include "tensor/check.h"
#include "tensor/factory.h"
#include "tensor/random.h"
#include "tensor/sha256.h"

namespace nibble::quant {
namespace {

std::span<const std::int32_t> image_of(const Tensor& values, std::int64_t image) {
  const std::int64_t per_image = values.numel() / values.size(0);
  return values.values<std::int32_t>().subspan(static_cast<std::size_t>(image * per_image),
                                               static_cast<std::size_t>(per_image));
}

std::string sha256_of_bytes(const void* data, std::size_t bytes) {
  return sha256({static_cast<const std::byte*>(data), bytes});
}

}  // namespace

void TraceHashes::add(const IntTrace& trace, std::int64_t first) {
  const std::vector<TracedTensor> tensors = tensors_of(trace);
  for (std::size_t t = 0; t < tensors.size(); ++t) {
    if (t == names_.size()) {
      names_.push_back(tensors[t].name);
      hashes_.emplace_back(static_cast<std::size_t>(images_));
    }
    for (std::int64_t i = 0; i < tensors[t].values.size(0); ++i)
      set(t, first + i, trace_hash(image_of(tensors[t].values, i)));
  }
}

void TraceHashes::set(std::size_t tensor, std::int64_t image, std::uint64_t hash) {
  hashes_[tensor][static_cast<std::size_t>(image)] = hash;
}

std::string TraceHashes::sha256_of(std::size_t tensor) const {
  return sha256_of_bytes(hashes_[tensor].data(), hashes_[tensor].size() * sizeof(std::uint64_t));
}

std::string TraceHashes::sha256_of_all() const {
  std::string text;
  for (std::size_t t = 0; t < tensors(); ++t) text += names_[t] + " " + sha256_of(t) + "\n";
  return sha256_of_bytes(text.data(), text.size());
}

void Comparison::add(const IntTrace& expected, const IntTrace& found, std::int64_t first_image) {
  const std::vector<TracedTensor> a = tensors_of(expected), b = tensors_of(found);
  NIBBLE_CHECK(a.size() == b.size(), "comparison: traces of ", a.size(), " and ", b.size(), " tensors");
  for (std::size_t t = 0; t < a.size(); ++t) {
    NIBBLE_CHECK(a[t].name == b[t].name && a[t].values.shape() == b[t].values.shape(),
                 "comparison: ", a[t].name, " ", a[t].values.shape(), " and ", b[t].name, " ",
                 b[t].values.shape());
    const auto x = a[t].values.values<std::int32_t>(), y = b[t].values.values<std::int32_t>();
    integers_ += static_cast<std::int64_t>(x.size());
    if (std::memcmp(x.data(), y.data(), x.size_bytes()) == 0) continue;
    const auto per_image = static_cast<std::size_t>(a[t].values.numel() / a[t].values.size(0));
    for (std::size_t i = 0; i < x.size(); ++i) {
      if (x[i] == y[i]) continue;
      ++differing_;
      const std::int64_t image = first_image + static_cast<std::int64_t>(i / per_image);
      if (!first_ || image < first_->image)
        first_ = {a[t].name, image, static_cast<std::int64_t>(i % per_image), x[i], y[i]};
    }
  }
}

Tensor extreme_images(const IntModel& model) {
  const Shape& image = model.input.image;
  const auto& codes = model.input.codes;
  const auto black = static_cast<std::uint8_t>(std::min_element(codes.begin(), codes.end()) - codes.begin());
  const auto white = static_cast<std::uint8_t>(std::max_element(codes.begin(), codes.end()) - codes.begin());
  std::vector<std::uint8_t> all;
  std::int64_t n = 0;
  const auto add = [&](const std::function<bool(std::int64_t c, std::int64_t y, std::int64_t x)>& is_white) {
    for (std::int64_t c = 0; c < image[0]; ++c)
      for (std::int64_t y = 0; y < image[1]; ++y)
        for (std::int64_t x = 0; x < image[2]; ++x) all.push_back(is_white(c, y, x) ? white : black);
    ++n;
  };
  add([](auto, auto, auto) { return false; });
  add([](auto, auto, auto) { return true; });
  for (const std::int64_t phase : {0, 1}) {
    add([&](auto, auto y, auto x) { return (x + y) % 2 == phase; });
    add([&](auto, auto y, auto) { return y % 2 == phase; });
    add([&](auto, auto, auto x) { return x % 2 == phase; });
  }
  Rng rng(0);
  for (int i = 0; i < 8; ++i) {
    const Tensor noise = uniform(image, 0, 1, rng);
    const std::int64_t row = image[2], plane = image[1] * row;
    add([&](auto c, auto y, auto x) { return noise.data<float>()[c * plane + y * row + x] < 0.5f; });
  }
  // The window of weights, laid next to itself: every window that starts at a multiple of its size gets the
  // worst.
  const auto* first = model.layers.empty() ? nullptr : std::get_if<IntProduct>(&model.layers.front());
  if (first != nullptr && !first->is_linear()) {
    const Tensor weight = first->weight.contiguous();
    const std::int64_t depth = weight.size(1), rows = weight.size(2), cols = weight.size(3);
    for (std::int64_t k = 0; k < first->out_channels(); ++k)
      for (const bool largest : {true, false})
        add([&](std::int64_t c, std::int64_t y, std::int64_t x) {
          const std::int64_t r = (y + first->options.padding.h) % rows,
                             s = (x + first->options.padding.w) % cols;
          return (weight.data<std::int8_t>()[((k * depth + c % depth) * rows + r) * cols + s] > 0) == largest;
        });
  }
  return from_values(image.inserted(0, n), all);
}

}  // namespace nibble::quant
