#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "quant/integer/model.h"
#include "quant/integer/trace.h"

// What proves that several ways to run a model compute the same integers.

namespace nibble::quant {

// trace_hash of every traced tensor of every image, in the order of tensors_of.
class TraceHashes {
 public:
  explicit TraceHashes(std::int64_t images) : images_(images) {}

  // The batch starts at image `first`. Batches may come in any order, one at a time.
  void add(const IntTrace& trace, std::int64_t first);
  void set(std::size_t tensor, std::int64_t image, std::uint64_t hash);

  std::int64_t images() const { return images_; }
  std::size_t tensors() const { return names_.size(); }
  const std::string& name(std::size_t tensor) const { return names_[tensor]; }
  std::uint64_t at(std::size_t tensor, std::int64_t image) const {
    return hashes_[tensor][static_cast<std::size_t>(image)];
  }
  // SHA-256 over the hashes of all images, 8 bytes each, little-endian: the certificate of one tensor.
  std::string sha256_of(std::size_t tensor) const;
  // SHA-256 over those of all tensors, as text: the certificate of the model on these images.
  std::string sha256_of_all() const;

 private:
  std::int64_t images_;
  std::vector<std::string> names_;
  std::vector<std::vector<std::uint64_t>> hashes_;  // [tensor][image]
};

struct Difference {
  std::string tensor;  // "conv1 accumulators"
  std::int64_t image, index;
  std::int32_t expected, found;
};

// How far somebody's traces agree with the expected ones. Keeps the difference that is first by image, then
// by layer.
class Comparison {
 public:
  void add(const IntTrace& expected, const IntTrace& found, std::int64_t first_image);

  std::int64_t integers() const { return integers_; }  // compared
  std::int64_t differing() const { return differing_; }
  const std::optional<Difference>& first() const { return first_; }

 private:
  std::int64_t integers_ = 0, differing_ = 0;
  std::optional<Difference> first_;
};

// Images that drive the first layer to its ends: black, white, checkers, stripes, noise of black and white,
// and for each of its channels those that make the sums as large and as small as its weights permit. uint8
// [n, C, H, W].
Tensor extreme_images(const IntModel& model);

}  // namespace nibble::quant
