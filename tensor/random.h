#pragma once

#include <array>
#include <cstdint>

namespace nibble {

// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3",
// SC11). The n-th number is a pure function of (seed, stream, n), so each image, layer or step can have a
// stream of its own and no result depends on which thread draws first. There is no global generator.
class Rng {
 public:
  explicit Rng(std::uint64_t seed, std::uint64_t stream = 0) : seed_(seed), stream_(stream) {}

  std::uint32_t next_u32();
  double uniform();                          // [0, 1), 53 bits
  double normal();                           // mean 0, variance 1 (Box-Muller)
  std::uint64_t below(std::uint64_t bound);  // 0..bound-1, unbiased; bound > 0

 private:
  std::uint64_t seed_, stream_;
  std::uint64_t position_ = 0;  // words drawn
  std::array<std::uint32_t, 4> block_{};
  std::uint64_t block_index_ = ~std::uint64_t{0};
};

// A well-mixed stream number from parts, for instance (purpose, epoch, image index).
std::uint64_t stream_of(std::uint64_t a, std::uint64_t b = 0, std::uint64_t c = 0);

}  // namespace nibble
